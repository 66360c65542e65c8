// A file's bytes as they are on the disk, for Python to read. Python's own mmap keeps a descriptor for each file, of
// which a process may have a thousand, and a corpus may have more than a dozen files a shard.
//
// A file that is cut off while it is mapped, or whose disk fails, raises SIGBUS on a read, which ends the process
// without a message. Here such a read gives zeros and marks the file as damaged; readers check the mark before they use
// what they read.
#pragma once

#include <pybind11/pybind11.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <mutex>

namespace midigpt::bindings {

// All mapped ranges of the process, for the signal handler to search: nodes are added and used again, never freed.
class MappedRanges {
 public:
  struct Range {
    std::atomic<std::uintptr_t> first{0};
    std::atomic<std::uintptr_t> size{0};  // 0: free
    std::atomic<bool> lost{false};
    Range* next = nullptr;
  };

  static Range* add(void* data, std::size_t size) {
    const std::lock_guard<std::mutex> held(guard());
    install();
    Range* range = head().load();
    while (range != nullptr && range->size.load() != 0) range = range->next;
    if (range == nullptr) {
      range = new Range;  // NOLINT(cppcoreguidelines-owning-memory): the handler may look at it at any time
      range->next = head().load();
      head().store(range);
    }
    range->lost.store(false);
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast)
    range->first.store(reinterpret_cast<std::uintptr_t>(data));
    range->size.store(size);
    return range;
  }
  static void remove(Range* range) {
    const std::lock_guard<std::mutex> held(guard());
    range->size.store(0);
  }
  // How often bytes were lost in this process, in whatever file.
  static std::atomic<std::uint64_t>& losses() {
    static std::atomic<std::uint64_t> count{0};
    return count;
  }

 private:
  static std::mutex& guard() {
    static std::mutex mutex;
    return mutex;
  }
  static std::atomic<Range*>& head() {
    static std::atomic<Range*> first{nullptr};
    return first;
  }
  static struct sigaction& previous() {
    static struct sigaction action{};
    return action;
  }

  static std::atomic<bool>& has_passed_on() {
    static std::atomic<bool> passed{false};
    return passed;
  }

  // Whenever a file is mapped: worker processes of others install handlers of their own.
  static void install() {
    struct sigaction now{};
    if (sigaction(SIGBUS, nullptr, &now) != 0) return;
    if ((now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == &handle) return;
    previous() = now;
    has_passed_on().store(false);
    losses();
    struct sigaction ours{};
    ours.sa_sigaction = &handle;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&ours.sa_mask);
    sigaction(SIGBUS, &ours, nullptr);
  }

  // Calls only what a signal handler may, and mmap, which is a bare system call on the systems that have SIGBUS here.
  static void handle(int number, siginfo_t* info, void* /*context*/) {
    const int kept = errno;
    // A signal that a process sent has no address.
    const bool is_fault = info->si_code > 0;
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast)
    const auto at = reinterpret_cast<std::uintptr_t>(info->si_addr);
    for (Range* range = head().load(); is_fault && range != nullptr; range = range->next) {
      const std::uintptr_t first = range->first.load();
      const std::uintptr_t size = range->size.load();
      if (at < first || at - first >= size) continue;
      const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
      const std::uintptr_t start = at - at % page;
      // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast,performance-no-int-to-ptr)
      void* const place = reinterpret_cast<void*>(start);
      void* const zeros = mmap(place, first + size - start, PROT_READ, MAP_PRIVATE | MAP_FIXED | MAP_ANON, -1, 0);
      if (zeros != place) break;
      range->lost.store(true);
      losses().fetch_add(1);
      errno = kept;
      return;
    }
    // Not our mapping: pass the signal to the previous handler. If that handler restored ours, the signal comes here
    // again and ends the process.
    if (has_passed_on().exchange(true)) {
      struct sigaction by_default{};
      by_default.sa_handler = SIG_DFL;
      sigemptyset(&by_default.sa_mask);
      sigaction(number, &by_default, nullptr);
    } else {
      sigaction(number, &previous(), nullptr);
    }
    // A fault comes again when the read is made again, a signal that was sent does not.
    if (!is_fault) raise(number);
    errno = kept;
  }
};

class MappedFile {
 public:
  explicit MappedFile(int descriptor) {
    struct stat status{};
    if (fstat(descriptor, &status) != 0) fail();
    size_ = static_cast<std::size_t>(status.st_size);
    if (size_ == 0) return;
    void* const mapped = mmap(nullptr, size_, PROT_READ, MAP_SHARED, descriptor, 0);
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-cstyle-cast,performance-no-int-to-ptr): the macro is such a cast
    if (mapped == MAP_FAILED) fail();
    data_ = mapped;
    range_ = MappedRanges::add(data_, size_);
  }
  ~MappedFile() {
    if (data_ == nullptr) return;
    MappedRanges::remove(range_);
    munmap(data_, size_);
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  MappedFile(MappedFile&&) = delete;
  MappedFile& operator=(MappedFile&&) = delete;

  // Whether a read found zeros where the file had lost its bytes.
  [[nodiscard]] bool lost() const { return range_ != nullptr && range_->lost.load(); }

  [[nodiscard]] pybind11::buffer_info info() const {
    // Python refuses a null pointer even where there is nothing to read.
    static std::uint8_t nothing = 0;
    constexpr bool kReadOnly = true;
    const auto size = static_cast<pybind11::ssize_t>(size_);
    return {data_ == nullptr ? &nothing : data_,
            1,
            pybind11::format_descriptor<std::uint8_t>::format(),
            1,
            {size},
            {1},
            kReadOnly};
  }

 private:
  [[noreturn]] static void fail() {
    PyErr_SetFromErrno(PyExc_OSError);
    throw pybind11::error_already_set();
  }

  void* data_ = nullptr;
  std::size_t size_ = 0;
  MappedRanges::Range* range_ = nullptr;
};

}  // namespace midigpt::bindings
