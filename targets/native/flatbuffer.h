// What a program's own tables say and ExecuTorch's headers do not: the schema's header is not in the wheel, so that the
// few fields needed are read by their numbers in schema/program.fbs (flatbuffers never renumber fields). As
// harness/worker/pte.py does; every access is checked against the length of the file.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "failure.h"

namespace harness {

// A table of a flatbuffer within `data`. Throws Failure where an offset leads out of it.
class Table {
 public:
  Table(std::string_view data, size_t at, const std::string& path) : data_(data), at_(at), path_(&path) {
    auto back = number<int32_t>(at);
    entries_ = static_cast<size_t>(static_cast<int64_t>(at) - back);
    entries_bytes_ = number<uint16_t>(entries_);
  }

  static Table root(std::string_view data, const std::string& path) {
    if (data.size() < 8) throw damaged(path);
    uint32_t at = 0;
    memcpy(&at, data.data(), 4);
    return Table(data, at, path);
  }

  template <class T>
  T scalar(int field, T otherwise) const {
    auto place = position(field);
    return place ? number<T>(*place) : otherwise;
  }

  // Of a member, a vector of members or a text; nothing where the field is absent.
  std::optional<Table> table(int field) const {
    auto place = position(field);
    return place ? std::optional<Table>(Table(data_, follow(*place), *path_)) : std::nullopt;
  }

  std::vector<Table> tables(int field) const {
    std::vector<Table> tables;
    each(field, 4, [&](size_t place) { tables.emplace_back(data_, follow(place), *path_); });
    return tables;
  }

  std::vector<int32_t> integers(int field) const {
    std::vector<int32_t> integers;
    each(field, 4, [&](size_t place) { integers.push_back(number<int32_t>(place)); });
    return integers;
  }

  std::string text(int field) const {
    auto place = position(field);
    if (!place) return "";
    size_t start = follow(*place);
    return std::string(piece(start + 4, number<uint32_t>(start)));
  }

 private:
  static Failure damaged(const std::string& path) {
    return Failure("model", path + " is damaged: its tables cannot be read.", "Copy or export it again.");
  }

  std::string_view piece(size_t at, size_t bytes) const {
    if (at > data_.size() || bytes > data_.size() - at) throw damaged(*path_);
    return data_.substr(at, bytes);
  }

  template <class T>
  T number(size_t at) const {
    T value;
    memcpy(&value, piece(at, sizeof value).data(), sizeof value);
    return value;
  }

  // Where a field lies; nothing where the writer left it out.
  std::optional<size_t> position(int field) const {
    size_t entry = 4 + 2 * static_cast<size_t>(field);
    if (entry + 2 > entries_bytes_) return std::nullopt;
    auto offset = number<uint16_t>(entries_ + entry);
    return offset ? std::optional<size_t>(at_ + offset) : std::nullopt;
  }

  size_t follow(size_t at) const { return at + number<uint32_t>(at); }

  template <class Each>
  void each(int field, size_t width, Each each) const {
    auto place = position(field);
    if (!place) return;
    size_t start = follow(*place), count = number<uint32_t>(start);
    piece(start + 4, count * width);  // an implausible count must not make us loop
    for (size_t i = 0; i < count; i++) each(start + 4 + i * width);
  }

  std::string_view data_;
  size_t at_, entries_ = 0, entries_bytes_ = 0;
  const std::string* path_;
};

}  // namespace harness
