// A file's bytes as they are on the disk, for Python to read. Python's own mmap keeps a descriptor for each file, of
// which a process may have a thousand, and a corpus may have more than a dozen files a shard.
//
// A file that is cut off while it is mapped, or whose disk fails, raises SIGBUS on a read, which ends the process
// without a message. Here such a read gives zeros and marks the file as damaged; readers check the mark before they use
// what they read.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>

#include "bindings/file_bytes.h"

namespace midigpt::bindings {

class MappedFile {
 public:
  explicit MappedFile(int descriptor) {
    if (bytes_.open(descriptor)) return;
    PyErr_SetFromErrno(PyExc_OSError);
    throw pybind11::error_already_set();
  }

  // Whether a read found zeros where the file had lost its bytes.
  [[nodiscard]] bool lost() const { return bytes_.lost(); }

  [[nodiscard]] pybind11::buffer_info info() {
    // Python refuses a null pointer even where there is nothing to read.
    static std::uint8_t nothing = 0;
    constexpr bool kReadOnly = true;
    const auto size = static_cast<pybind11::ssize_t>(bytes_.size());
    return {bytes_.data() == nullptr ? &nothing : bytes_.data(),
            1,
            pybind11::format_descriptor<std::uint8_t>::format(),
            1,
            {size},
            {1},
            kReadOnly};
  }

 private:
  FileBytes bytes_;
};

}  // namespace midigpt::bindings
