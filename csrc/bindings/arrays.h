// Arrays that Python hands in, through the buffer protocol and so without NumPy. Each is checked, by name: its type,
// shape and memory order.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace midigpt::bindings {

namespace py = pybind11;

// As NumPy calls it.
template <class T>
std::string type_name() {
  if constexpr (std::is_same_v<T, bool>) return "bool";
  const char* const kind = std::is_floating_point_v<T> ? "float" : std::is_signed_v<T> ? "int" : "uint";
  return kind + std::to_string(8 * sizeof(T));
}

template <class T>
[[noreturn]] void refuse(const char* name, const char* wanted) {
  throw py::type_error(std::string(name) + " must be " + wanted + " of " + type_name<T>());
}

// The buffer of an array of T. Throws TypeError for anything else: `name` must be `wanted` of T.
template <class T>
py::buffer_info request(const py::handle& object, const char* name, const char* wanted, bool writable = false) {
  if (PyObject_CheckBuffer(object.ptr()) != 0) {
    py::buffer_info info = py::reinterpret_borrow<py::buffer>(object).request(writable);
    if (info.item_type_is_equivalent_to<T>()) return info;
  }
  refuse<T>(name, wanted);
}

// A contiguous array of one dimension, held for as long as this lives.
template <class T>
class Array {
 public:
  Array(const py::handle& object, const char* name, bool writable = false)
      : info_(request<T>(object, name, kWanted, writable)) {
    if (info_.ndim != 1 || (info_.size > 1 && info_.strides[0] != info_.itemsize)) refuse<T>(name, kWanted);
  }
  [[nodiscard]] const T* data() const { return static_cast<const T*>(info_.ptr); }
  [[nodiscard]] T* writable() { return static_cast<T*>(info_.ptr); }
  [[nodiscard]] std::int64_t size() const { return info_.size; }
  [[nodiscard]] std::span<const T> span() const { return {data(), static_cast<std::size_t>(size())}; }
  // What another thread cannot change between a check and its use.
  [[nodiscard]] std::vector<T> copy() const { return {data(), data() + size()}; }

 private:
  static constexpr const char* kWanted = "one contiguous run";

  py::buffer_info info_;
};

// The arrays of one record, as large as they should be. They stay alive as long as this does.
class Fields {
 public:
  // Copies: for arrays that are checked before they are followed without the GIL. Another thread may change what Python
  // holds. Large columns stay where they are; their readers check each index where it is used.
  enum class Keep : std::uint8_t { References, Copies };

  explicit Fields(py::object record, Keep keep = Keep::References) : record_(std::move(record)), keep_(keep) {}

  [[nodiscard]] py::object get(const char* name) const { return record_.attr(name); }

  // A field of exactly this type and shape, in C order; -1 in `shape`: any length, which `length` then receives.
  template <class T>
  const T* array(const char* name, std::initializer_list<std::int64_t> shape, std::int64_t* length = nullptr) {
    return check<T>(name, get(name), shape, length);
  }

  // As `array`, or nullptr if the field is None.
  template <class T>
  const T* optional_array(const char* name, std::initializer_list<std::int64_t> shape) {
    const py::object value = get(name);
    return value.is_none() ? nullptr : check<T>(name, value, shape);
  }

  // A bool field as bytes. The array may contain values other than 0 and 1.
  const std::uint8_t* flags(const char* name, std::initializer_list<std::int64_t> shape,
                            std::int64_t* length = nullptr) {
    return reinterpret_cast<const std::uint8_t*>(array<bool>(name, shape, length));
  }
  const std::uint8_t* optional_flags(const char* name, std::initializer_list<std::int64_t> shape) {
    return reinterpret_cast<const std::uint8_t*>(optional_array<bool>(name, shape));
  }

  // As `array`, for a value that is no field of the record.
  template <class T>
  const T* check(const char* name, const py::handle& value, std::initializer_list<std::int64_t> shape,
                 std::int64_t* length = nullptr) {
    py::buffer_info info = request<T>(value, name, "a NumPy array");
    if (!fits(info, shape, length)) throw py::value_error(std::string(name) + " has another shape than " + text(shape));
    const bool is_in_order = PyBuffer_IsContiguous(info.view(), 'C') != 0;
    const bool is_aligned = reinterpret_cast<std::uintptr_t>(info.ptr) % alignof(T) == 0;
    if (keep_ == Keep::References && is_in_order && is_aligned) {
      const auto* const data = static_cast<const T*>(info.ptr);
      alive_.push_back(std::make_shared<py::buffer_info>(std::move(info)));
      return data;
    }
    const auto size = static_cast<std::size_t>(info.size);
    // One more, so that there is a pointer even where there is nothing.
    const std::shared_ptr<T[]> copy(new T[size + 1]);
    if (is_in_order) {
      if (size > 0) std::memcpy(copy.get(), info.ptr, size * sizeof(T));
    } else if (PyBuffer_ToContiguous(copy.get(), info.view(), info.size * info.itemsize, 'C') != 0) {
      throw py::error_already_set();
    }
    alive_.push_back(copy);
    return copy.get();
  }

 private:
  static bool fits(const py::buffer_info& info, std::initializer_list<std::int64_t> shape, std::int64_t* length) {
    if (info.ndim != static_cast<py::ssize_t>(shape.size())) return false;
    std::size_t axis = 0;
    for (const std::int64_t expected : shape) {
      const std::int64_t found = info.shape[axis++];
      if (expected >= 0 && found != expected) return false;
      if (expected < 0 && length != nullptr) *length = found;
    }
    return true;
  }

  static std::string text(std::initializer_list<std::int64_t> shape) {
    std::string text = "[";
    for (const std::int64_t length : shape) {
      if (text.size() > 1) text += ", ";
      text += length < 0 ? std::string("any") : std::to_string(length);
    }
    return text + "]";
  }

  py::object record_;
  Keep keep_;
  std::vector<std::shared_ptr<const void>> alive_;
};

}  // namespace midigpt::bindings
