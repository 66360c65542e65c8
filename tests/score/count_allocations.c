/* Preloaded into a process, counts what the C allocator hands out, and with it operator new, std::vector and realloc:
 * everything that native code allocates. Blocks count with the size that the allocator gave them. A block that moves in
 * realloc counts twice while it does.
 */
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void __libc_free(void *);

static atomic_int counting;
static atomic_long live;  /* allocated minus freed since the start */
static atomic_long most;  /* the largest value of `live` */
static atomic_long total; /* everything allocated, whether freed or not */

void allocations_start(void) {
    live = most = total = 0;
    counting = 1;
}
void allocations_stop(void) { counting = 0; }
long allocations_most(void) { return most; }
long allocations_total(void) { return total; }

static void *gained(void *block) {
    if (counting && block != NULL) {
        const long size = (long)malloc_usable_size(block);
        const long now = atomic_fetch_add(&live, size) + size;
        atomic_fetch_add(&total, size);
        long before = most;
        while (before < now && !atomic_compare_exchange_weak(&most, &before, now)) {
        }
    }
    return block;
}

static void lost(long size) {
    if (counting) atomic_fetch_sub(&live, size);
}

void *malloc(size_t size) { return gained(__libc_malloc(size)); }
void *calloc(size_t count, size_t size) { return gained(__libc_calloc(count, size)); }
void *memalign(size_t alignment, size_t size) { return gained(__libc_memalign(alignment, size)); }
void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **block, size_t alignment, size_t size) {
    void *const found = memalign(alignment, size);
    if (found == NULL) return ENOMEM;
    *block = found;
    return 0;
}

void *realloc(void *block, size_t size) {
    const long old = block == NULL ? 0 : (long)malloc_usable_size(block);
    void *const grown = gained(__libc_realloc(block, size));
    if (grown != NULL || size == 0) lost(old);
    return grown;
}

void free(void *block) {
    if (block != NULL) lost((long)malloc_usable_size(block));
    __libc_free(block);
}
