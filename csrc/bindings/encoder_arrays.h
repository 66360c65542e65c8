// Takes NumPy arrays out of Python records, checked: dtype, shape, memory order and alignment, naming the field.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

namespace midigpt::bindings {

namespace py = pybind11;

// The fields of one record. Arrays stay alive as long as this does.
class Fields {
 public:
  // Copies: for arrays that are checked before they are followed without the GIL. Another thread may change what Python
  // holds. Large columns stay where they are; whoever reads those checks each index where it is used.
  enum class Keep : std::uint8_t { References, Copies };

  explicit Fields(py::object record, Keep keep = Keep::References) : record_(std::move(record)), keep_(keep) {}

  [[nodiscard]] py::object get(const char* name) const { return record_.attr(name); }

  // A field of exactly this dtype and shape; -1 in `shape`: any length, which `length` then receives.
  template <class T>
  const T* array(const char* name, std::initializer_list<std::int64_t> shape, std::int64_t* length = nullptr) {
    return check<T>(name, get(name), shape, length);
  }

  // As `array`, or nullptr if the field is None.
  template <class T>
  const T* optional_array(const char* name, std::initializer_list<std::int64_t> shape) {
    py::object value = get(name);
    return value.is_none() ? nullptr : check<T>(name, std::move(value), shape);
  }

  // A bool field as bytes: whoever made the array decides what else than 0 and 1 stands in it.
  const std::uint8_t* flags(const char* name, std::initializer_list<std::int64_t> shape) {
    return reinterpret_cast<const std::uint8_t*>(array<bool>(name, shape));
  }
  const std::uint8_t* optional_flags(const char* name, std::initializer_list<std::int64_t> shape) {
    return reinterpret_cast<const std::uint8_t*>(optional_array<bool>(name, shape));
  }

  // As `array`, for a value that is no field of the record.
  template <class T>
  const T* check(const char* name, py::object value, std::initializer_list<std::int64_t> shape,
                 std::int64_t* length = nullptr) {
    if (!py::isinstance<py::array_t<T>>(value)) {
      throw py::type_error(std::string(name) + " must be a NumPy array of " +
                           py::str(py::dtype::of<T>()).template cast<std::string>());
    }
    auto array = py::array_t<T, py::array::c_style>::ensure(value);
    if (!array) throw py::error_already_set();
    if (keep_ == Keep::Copies) array = py::array_t<T, py::array::c_style>(array.request());
    bool fits = array.ndim() == static_cast<py::ssize_t>(shape.size());
    py::ssize_t axis = 0;
    for (const std::int64_t expected : shape) {
      if (!fits) break;
      if (expected >= 0) {
        fits = array.shape(axis) == expected;
      } else if (length != nullptr) {
        *length = array.shape(axis);
      }
      ++axis;
    }
    if (!fits) throw py::value_error(std::string(name) + " has another shape than " + describe(shape));
    const T* data = array.data();
    if (reinterpret_cast<std::uintptr_t>(data) % alignof(T) != 0) {
      throw py::value_error(std::string(name) + " is not aligned");
    }
    alive_.push_back(std::move(array));
    return data;
  }

 private:
  static std::string describe(std::initializer_list<std::int64_t> shape) {
    std::string text = "[";
    for (const std::int64_t length : shape) {
      if (text.size() > 1) text += ", ";
      text += length < 0 ? std::string("any") : std::to_string(length);
    }
    return text + "]";
  }

  py::object record_;
  Keep keep_;
  std::vector<py::object> alive_;
};

}  // namespace midigpt::bindings
