// A file's bytes as they are on the disk, for Python to read. Python's own mmap keeps a descriptor for each file, of
// which a process may have a thousand, and a corpus has more than a dozen files a shard.
#pragma once

#include <pybind11/pybind11.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace midigpt::bindings {

class MappedFile {
   public:
    explicit MappedFile(int descriptor) {
        struct stat status {};
        if (fstat(descriptor, &status) != 0) fail();
        size_ = static_cast<std::size_t>(status.st_size);
        if (size_ == 0) return;
        void* const mapped = mmap(nullptr, size_, PROT_READ, MAP_SHARED, descriptor, 0);
        // NOLINTNEXTLINE(cppcoreguidelines-pro-type-cstyle-cast,performance-no-int-to-ptr): the macro is such a cast
        if (mapped == MAP_FAILED) fail();
        data_ = mapped;
    }
    ~MappedFile() {
        if (data_ != nullptr) munmap(data_, size_);
    }
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;
    MappedFile(MappedFile&&) = delete;
    MappedFile& operator=(MappedFile&&) = delete;

    [[nodiscard]] pybind11::buffer_info info() const {
        // Python refuses a null pointer even where there is nothing to read.
        static std::uint8_t nothing = 0;
        constexpr bool kReadOnly = true;
        const auto size = static_cast<pybind11::ssize_t>(size_);
        return {data_ == nullptr ? &nothing : data_, 1, pybind11::format_descriptor<std::uint8_t>::format(), 1, {size},
                {1}, kReadOnly};
    }

   private:
    [[noreturn]] static void fail() {
        PyErr_SetFromErrno(PyExc_OSError);
        throw pybind11::error_already_set();
    }

    void* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace midigpt::bindings
