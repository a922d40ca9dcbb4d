// JSON, as much as the worker protocol and safetensors need: 64-bit integers stay integers, keys keep their order.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace harness {

class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;
  using Integers = std::vector<int64_t>;  // a million samples are no million variants

  Json() : value_(nullptr) {}
  Json(std::nullptr_t) : value_(nullptr) {}
  Json(bool value) : value_(value) {}
  Json(int value) : value_(int64_t{value}) {}
  Json(int64_t value) : value_(value) {}
  Json(size_t value) : value_(static_cast<int64_t>(value)) {}
  Json(double value) : value_(value) {}
  Json(const char* value) : value_(std::string(value)) {}
  Json(std::string value) : value_(std::move(value)) {}
  Json(Array value) : value_(std::move(value)) {}
  Json(Object value) : value_(std::move(value)) {}
  Json(Integers value) : value_(std::move(value)) {}

  // A document, whole. Throws std::runtime_error for anything else.
  static Json parse(std::string_view text) {
    size_t at = 0;
    Json value = parse_value(text, at, 0);
    skip(text, at);
    if (at != text.size()) throw std::runtime_error("JSON with something behind it");
    return value;
  }

  bool is_null() const { return std::holds_alternative<std::nullptr_t>(value_); }
  bool is_integer() const { return std::holds_alternative<int64_t>(value_); }
  bool is_real() const { return std::holds_alternative<double>(value_); }
  bool is_object() const { return std::holds_alternative<Object>(value_); }
  const Object& object() const { return get<Object>("an object"); }
  const Array& array() const { return get<Array>("an array"); }
  const std::string& text() const { return get<std::string>("text"); }
  int64_t integer() const { return get<int64_t>("an integer"); }
  double number() const {
    if (const auto* integer = std::get_if<int64_t>(&value_)) return static_cast<double>(*integer);
    return get<double>("a number");
  }
  int64_t integer_or(int64_t otherwise) const { return is_null() ? otherwise : integer(); }
  std::string text_or(std::string otherwise) const { return is_null() ? otherwise : text(); }

  // A member; null where there is none.
  const Json& operator[](std::string_view key) const {
    static const Json absent;
    for (const auto& [name, member] : object())
      if (name == key) return member;
    return absent;
  }

  std::string dump() const {
    std::string out;
    write(out);
    return out;
  }

 private:
  std::variant<std::nullptr_t, bool, int64_t, double, std::string, Array, Object, Integers> value_;

  template <class T>
  const T& get(const char* what) const {
    if (const T* value = std::get_if<T>(&value_)) return *value;
    throw std::runtime_error(std::string("JSON has no ") + what + " where one is needed");
  }

  void write(std::string& out) const {
    if (is_null()) {
      out += "null";
    } else if (const auto* truth = std::get_if<bool>(&value_)) {
      out += *truth ? "true" : "false";
    } else if (const auto* integer = std::get_if<int64_t>(&value_)) {
      out += std::to_string(*integer);
    } else if (const auto* real = std::get_if<double>(&value_)) {
      if (!std::isfinite(*real)) throw std::runtime_error("JSON has no infinities");
      char digits[32];
      snprintf(digits, sizeof digits, "%.17g", *real);
      out += digits;
    } else if (const auto* string = std::get_if<std::string>(&value_)) {
      quote(out, *string);
    } else if (const auto* numbers = std::get_if<Integers>(&value_)) {
      list(out, '[', ']', *numbers, [&](int64_t number) { out += std::to_string(number); });
    } else if (const auto* items = std::get_if<Array>(&value_)) {
      list(out, '[', ']', *items, [&](const Json& item) { item.write(out); });
    } else {
      list(out, '{', '}', std::get<Object>(value_), [&](const auto& member) {
        quote(out, member.first);
        out += ':';
        member.second.write(out);
      });
    }
  }

  template <class Items, class Each>
  static void list(std::string& out, char open, char close, const Items& items, Each each) {
    out += open;
    bool first = true;
    for (const auto& item : items) {
      if (!first) out += ',';
      first = false;
      each(item);
    }
    out += close;
  }

  // Control characters, which only a damaged file has in its names, are shown as question marks.
  static void quote(std::string& out, const std::string& text) {
    out += '"';
    for (unsigned char c : text) {
      if (c == '"' || c == '\\') out += '\\';
      if (c == '\n') {
        out += "\\n";
      } else {
        out += c < 0x20 || c == 0x7f ? '?' : static_cast<char>(c);
      }
    }
    out += '"';
  }

  static void skip(std::string_view text, size_t& at) {
    while (at < text.size() && (text[at] == ' ' || text[at] == '\t' || text[at] == '\n' || text[at] == '\r')) at++;
  }

  static char next(std::string_view text, size_t& at) {
    if (at >= text.size()) throw std::runtime_error("JSON that ends too early");
    return text[at++];
  }

  static bool take(std::string_view text, size_t& at, std::string_view word) {
    if (text.substr(at, word.size()) != word) return false;
    at += word.size();
    return true;
  }

  static Json parse_value(std::string_view text, size_t& at, int depth) {
    if (depth > 64) throw std::runtime_error("JSON that is too deep");
    skip(text, at);
    if (take(text, at, "null")) return nullptr;
    if (take(text, at, "true")) return true;
    if (take(text, at, "false")) return false;
    if (at < text.size() && text[at] == '"') return parse_string(text, at);
    if (take(text, at, "[")) {
      Array items;
      for (skip(text, at); !take(text, at, "]"); skip(text, at)) {
        if (!items.empty() && next(text, at) != ',') throw std::runtime_error("JSON without a comma");
        items.push_back(parse_value(text, at, depth + 1));
      }
      return items;
    }
    if (take(text, at, "{")) {
      Object members;
      for (skip(text, at); !take(text, at, "}"); skip(text, at)) {
        if (!members.empty() && next(text, at) != ',') throw std::runtime_error("JSON without a comma");
        skip(text, at);
        std::string key = parse_string(text, at);
        skip(text, at);
        if (next(text, at) != ':') throw std::runtime_error("JSON without a colon");
        members.emplace_back(std::move(key), parse_value(text, at, depth + 1));
      }
      return members;
    }
    return parse_number(text, at);
  }

  static Json parse_number(std::string_view text, size_t& at) {
    size_t end = text.find_first_not_of("+-0123456789.eE", at);
    std::string digits(text.substr(at, end == std::string_view::npos ? end : end - at));
    char* rest = nullptr;
    bool is_integer = digits.find_first_of(".eE") == std::string::npos;
    Json value = is_integer ? Json(int64_t{strtoll(digits.c_str(), &rest, 10)}) : Json(strtod(digits.c_str(), &rest));
    if (digits.empty() || *rest) throw std::runtime_error("JSON with something unknown in it");
    at += digits.size();
    return value;
  }

  static std::string parse_string(std::string_view text, size_t& at) {
    if (next(text, at) != '"') throw std::runtime_error("JSON without a quote");
    std::string out;
    for (char c = next(text, at); c != '"'; c = next(text, at)) {
      if (c != '\\') {
        out += c;
        continue;
      }
      char kind = next(text, at);
      switch (kind) {
        case 'n': out += '\n'; break;
        case 't': out += '\t'; break;
        case 'r': out += '\r'; break;
        case 'b': out += '\b'; break;
        case 'f': out += '\f'; break;
        case 'u': append_utf8(out, parse_code_point(text, at)); break;
        default: out += kind;
      }
    }
    return out;
  }

  static uint32_t parse_hex(std::string_view text, size_t& at) {
    std::string digits(text.substr(at, 4));
    at += digits.size();
    if (digits.size() != 4 || digits.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos)
      throw std::runtime_error("JSON with a damaged character");
    return static_cast<uint32_t>(strtoul(digits.c_str(), nullptr, 16));
  }

  static uint32_t parse_code_point(std::string_view text, size_t& at) {
    uint32_t code = parse_hex(text, at);
    // Python writes a byte of a file name that is no UTF-8 as a lone surrogate; it becomes that byte again below.
    if (code < 0xd800 || code > 0xdbff || !take(text, at, "\\u")) return code;
    return 0x10000 + ((code - 0xd800) << 10) + (parse_hex(text, at) - 0xdc00);
  }

  static void append_utf8(std::string& out, uint32_t code) {
    if (code >= 0xdc80 && code <= 0xdcff) {
      out += static_cast<char>(code - 0xdc00);
    } else if (code < 0x80) {
      out += static_cast<char>(code);
    } else if (code < 0x800) {
      out += static_cast<char>(0xc0 | code >> 6);
      out += static_cast<char>(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
      out += static_cast<char>(0xe0 | code >> 12);
      out += static_cast<char>(0x80 | (code >> 6 & 0x3f));
      out += static_cast<char>(0x80 | (code & 0x3f));
    } else {
      out += static_cast<char>(0xf0 | code >> 18);
      out += static_cast<char>(0x80 | (code >> 12 & 0x3f));
      out += static_cast<char>(0x80 | (code >> 6 & 0x3f));
      out += static_cast<char>(0x80 | (code & 0x3f));
    }
  }
};

}  // namespace harness
