// A file's bytes in memory. Where files can be mapped, bytes that the file loses while it is mapped are zeros and are
// counted; elsewhere the file is read.
#pragma once

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>
// After windows.h.
#include <io.h>
#elif !defined(MIDIGPT_WITHOUT_MMAP)
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <mutex>
#else
#include <sys/stat.h>
#include <unistd.h>

#include <vector>
#endif

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace midigpt::bindings {

// How often bytes were lost in this process, in whatever file.
inline std::atomic<std::uint64_t>& losses() {
  static std::atomic<std::uint64_t> count{0};
  return count;
}

#if defined(_WIN32)

// Windows does not let anybody cut a mapped file, so no byte is lost but by a disk that fails.
class FileBytes {
 public:
  FileBytes() = default;
  ~FileBytes() {
    if (data_ != nullptr) UnmapViewOfFile(data_);
  }
  FileBytes(const FileBytes&) = delete;
  FileBytes& operator=(const FileBytes&) = delete;
  FileBytes(FileBytes&&) = delete;
  FileBytes& operator=(FileBytes&&) = delete;

  // False, with errno: the file cannot be read. Once.
  bool open(int descriptor) {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast,performance-no-int-to-ptr)
    auto* const file = reinterpret_cast<HANDLE>(_get_osfhandle(descriptor));
    LARGE_INTEGER size{};
    if (file == INVALID_HANDLE_VALUE || GetFileSizeEx(file, &size) == 0) return fail();
    size_ = static_cast<std::size_t>(size.QuadPart);
    if (size_ == 0) return true;
    auto* const mapping = CreateFileMappingW(file, nullptr, PAGE_READONLY, 0, 0, nullptr);
    if (mapping == nullptr) return fail();
    data_ = MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
    const DWORD error = GetLastError();
    CloseHandle(mapping);  // the view keeps it
    SetLastError(error);
    return data_ != nullptr || fail();
  }
  [[nodiscard]] bool lost() const { return false; }
  [[nodiscard]] void* data() const { return data_; }
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  static bool fail() {
    errno = GetLastError() == ERROR_NOT_ENOUGH_MEMORY ? ENOMEM : EIO;
    return false;
  }

  void* data_ = nullptr;
  std::size_t size_ = 0;
};

#elif defined(MIDIGPT_WITHOUT_MMAP)

// A copy: nothing of it can be lost.
class FileBytes {
 public:
  // False, with errno: the file cannot be read. Once.
  bool open(int descriptor) {
    struct stat status{};
    if (fstat(descriptor, &status) != 0) return false;
    content_.resize(static_cast<std::size_t>(status.st_size));
    std::size_t done = 0;
    while (done < content_.size()) {
      const auto count = pread(descriptor, content_.data() + done, content_.size() - done, static_cast<off_t>(done));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return false;
      if (count == 0) break;  // it was cut
      done += static_cast<std::size_t>(count);
    }
    if (done < content_.size()) {
      is_cut_ = true;
      losses().fetch_add(1);
    }
    return true;
  }
  [[nodiscard]] bool lost() const { return is_cut_; }
  [[nodiscard]] void* data() { return content_.empty() ? nullptr : content_.data(); }
  [[nodiscard]] std::size_t size() const { return content_.size(); }

 private:
  std::vector<std::uint8_t> content_;
  bool is_cut_ = false;
};

#else

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

class FileBytes {
 public:
  FileBytes() = default;
  ~FileBytes() {
    if (data_ == nullptr) return;
    MappedRanges::remove(range_);
    munmap(data_, size_);
  }
  FileBytes(const FileBytes&) = delete;
  FileBytes& operator=(const FileBytes&) = delete;
  FileBytes(FileBytes&&) = delete;
  FileBytes& operator=(FileBytes&&) = delete;

  // False, with errno: the file cannot be read. Once.
  bool open(int descriptor) {
    struct stat status{};
    if (fstat(descriptor, &status) != 0) return false;
    size_ = static_cast<std::size_t>(status.st_size);
    if (size_ == 0) return true;
    void* const mapped = mmap(nullptr, size_, PROT_READ, MAP_SHARED, descriptor, 0);
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-cstyle-cast,performance-no-int-to-ptr): the macro is such a cast
    if (mapped == MAP_FAILED) return false;
    data_ = mapped;
    range_ = MappedRanges::add(data_, size_);
    return true;
  }
  // Whether a read found zeros where the file had lost its bytes.
  [[nodiscard]] bool lost() const { return range_ != nullptr && range_->lost.load(); }
  [[nodiscard]] void* data() const { return data_; }
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
  MappedRanges::Range* range_ = nullptr;
};

#endif

}  // namespace midigpt::bindings
