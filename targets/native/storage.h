// A file on this device's storage, read into an arena many pieces at a time: harness/flash/io/reader.py, in C++ on the same
// flashio.c.
#pragma once

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <vector>

#include "failure.h"
#include "json.h"

extern "C" {
struct pool;
struct ring;
pool* flashio_pool_open(int descriptor, void* base, int64_t slot_bytes, int depth);
int64_t flashio_pool_read(pool*, int64_t count, const int64_t* offsets, const int64_t* lengths, const int64_t* slots,
                          int64_t* failed);
void flashio_pool_close(pool*);
ring* flashio_ring_open(int descriptor, void* base, int64_t slot_bytes, int64_t slots, int depth);
int64_t flashio_ring_read(ring*, int64_t count, const int64_t* offsets, const int64_t* lengths, const int64_t* slots,
                          int64_t* failed);
void flashio_ring_close(ring*);
}

namespace harness {

inline constexpr int64_t kDeepest = 1024;

// Reads asked for at once: `offsets` and `lengths` in bytes, and the arena slots at which they begin.
struct Pieces {
  int64_t count;
  const int64_t *offsets, *lengths, *slots;
};

class Storage {
 public:
  // `reader` is one of the Python worker's: threads and pread are the same pool here. Throws Failure where it cannot be
  // had, where the file lies in memory, or where its file system has no O_DIRECT.
  Storage(const std::string& path, const std::string& reader, int64_t depth, int64_t slots, int64_t slot_bytes)
      : path_(path), slots_(slots), slot_bytes_(slot_bytes) {
    bool ring = reader == "uring";
    direct_ = ring || reader == "threads" || reader == "pread";
    if (!direct_ && reader != "buffered")
      throw Failure("usage", "The native worker has no reader " + reader + ".",
                    "Choose threads, pread, uring or buffered (--reader).");
    if (depth < 1 || depth > kDeepest)
      throw Failure("usage", "A depth of " + std::to_string(depth) + " reads is out of range.",
                    "Give 1 to " + std::to_string(kDeepest) + ".");
    require_disk();
    descriptor_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | (direct_ ? O_DIRECT : 0));
    if (descriptor_ < 0 && errno == EINVAL)
      throw Failure("usage", "The file system of " + path + " has no O_DIRECT, so its cache cannot be passed by.",
                    "Keep the file on another, such as ext4, XFS or F2FS, or use --reader buffered.");
    if (descriptor_ < 0) throw unreadable();
    struct stat known {};
    if (fstat(descriptor_, &known) != 0) throw unreadable();
    file_bytes_ = known.st_size;
    // Private and touched now, as the Python worker's: no read has to wait for a page.
    void* memory = mmap(nullptr, static_cast<size_t>(slots * slot_bytes), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    arena_ = static_cast<uint8_t*>(memory);
    if (ring) ring_ = flashio_ring_open(descriptor_, arena_, slot_bytes, slots, static_cast<int>(depth));
    else pool_ = flashio_pool_open(descriptor_, arena_, slot_bytes, static_cast<int>(depth));
    if (!ring_ && !pool_)
      throw Failure("usage", ring ? std::string("The kernel offers no io_uring here (") + strerror(errno) + ")."
                                  : std::to_string(depth) + " threads cannot be started (" + strerror(errno) + ").",
                    ring ? "Choose --reader pread." : "Give a smaller --depth.");
  }
  Storage(const Storage&) = delete;  // the process ends by _exit: nothing is given back before

  bool direct() const { return direct_; }
  const uint8_t* slot(int64_t number) const { return arena_ + number * slot_bytes_; }

  // Whether every piece lies in the file and in the arena, which the reads themselves do not look at.
  bool holds(const Pieces& pieces) const {
    for (int64_t i = 0; i < pieces.count; i++) {
      int64_t offset = pieces.offsets[i], length = pieces.lengths[i], slot = pieces.slots[i];
      if (offset < 0 || length < 1 || offset > file_bytes_ - length || slot < 0 || slot >= slots_ ||
          length > (slots_ - slot) * slot_bytes_)
        return false;
    }
    return true;
  }

  // All of them are in the arena when it returns. Throws Failure when the device fails.
  void read(const Pieces& pieces) {
    int64_t failed = -1;
    int64_t result =
        ring_ ? flashio_ring_read(ring_, pieces.count, pieces.offsets, pieces.lengths, pieces.slots, &failed)
              : flashio_pool_read(pool_, pieces.count, pieces.offsets, pieces.lengths, pieces.slots, &failed);
    if (result >= 0) return;
    std::string where = std::to_string(pieces.lengths[failed]) + " bytes at offset " +
                        std::to_string(pieces.offsets[failed]) + " of " + path_;
    if (-result == EINVAL)
      throw Failure("usage", "The disk refuses to read " + where + " past the page cache.",
                    "Write the file again with a larger alignment, or use --reader buffered.");
    throw Failure("worker", where + " cannot be read (" + strerror(static_cast<int>(-result)) + ").",
                  "Look after the disk, or use another.");
  }

  // How much of the file the page cache holds, 0 to 1; null where the kernel does not say.
  Json cached_fraction() const {
    auto size = static_cast<size_t>(file_bytes_), page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    void* map = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor_, 0);
    std::vector<unsigned char> pages((size + page - 1) / page);
    if (map == MAP_FAILED || mincore(map, size, pages.data()) != 0) return nullptr;
    size_t held = 0;
    for (unsigned char page : pages) held += page & 1;
    munmap(map, size);
    return static_cast<double>(held) / static_cast<double>(pages.size());
  }

 private:
  Failure unreadable() const {
    return Failure("model", path_ + " cannot be read (" + strerror(errno) + ").", "Was it pushed whole? Run again.");
  }

  // open(O_DIRECT) succeeds on tmpfs and proves nothing.
  void require_disk() const {
    struct statfs known {};
    if (statfs(path_.c_str(), &known) != 0) throw unreadable();
    const char* kind = nullptr;
    switch (static_cast<uint32_t>(known.f_type)) {
      case 0x01021994: kind = "tmpfs"; break;
      case 0x858458f6: kind = "ramfs"; break;
      case 0x958458f6: kind = "hugetlbfs"; break;
      default: return;
    }
    throw Failure("usage", path_ + " lies in memory (" + kind + "), not in flash.",
                  "Keep the model, or the device's folder, on a disk.");
  }

  std::string path_;
  int64_t slots_, slot_bytes_, file_bytes_ = 0;
  int descriptor_ = -1;
  bool direct_ = false;
  uint8_t* arena_ = nullptr;
  pool* pool_ = nullptr;
  ring* ring_ = nullptr;
};

}  // namespace harness
