// Tensors in files: safetensors, the format in which the harness gives inputs and is given outputs.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include <executorch/extension/tensor/tensor.h>
#include <executorch/runtime/core/exec_aten/exec_aten.h>

#include "failure.h"
#include "json.h"

namespace harness {

using executorch::aten::ScalarType;
using executorch::aten::Tensor;
using executorch::extension::TensorPtr;

struct Dtype {
  ScalarType type;
  const char* torch;        // as torch and the protocol call it
  const char* safetensors;  // null where the format has none
  size_t bytes;
};

inline constexpr Dtype kDtypes[] = {
    {ScalarType::Byte, "uint8", "U8", 1},      {ScalarType::Char, "int8", "I8", 1},
    {ScalarType::Short, "int16", "I16", 2},    {ScalarType::Int, "int32", "I32", 4},
    {ScalarType::Long, "int64", "I64", 8},     {ScalarType::Half, "float16", "F16", 2},
    {ScalarType::Float, "float32", "F32", 4},  {ScalarType::Double, "float64", "F64", 8},
    {ScalarType::Bool, "bool", "BOOL", 1},     {ScalarType::BFloat16, "bfloat16", "BF16", 2},
    {ScalarType::UInt16, "uint16", "U16", 2},  {ScalarType::UInt32, "uint32", "U32", 4},
    {ScalarType::UInt64, "uint64", "U64", 8},
};

inline std::string dtype_name(ScalarType type) {
  for (const Dtype& dtype : kDtypes)
    if (dtype.type == type) return dtype.torch;
  return "dtype " + std::to_string(static_cast<int>(type));
}

// A tensor and the memory it lies in.
struct Held {
  std::vector<uint8_t> bytes;
  TensorPtr tensor;
};

inline Held make_tensor(ScalarType type, std::vector<executorch::aten::SizesType> sizes, std::vector<uint8_t> bytes) {
  Held held{std::move(bytes), nullptr};
  held.tensor = executorch::extension::from_blob(held.bytes.data(), std::move(sizes), type);
  return held;
}

// The value at `index` of a tensor of any of these dtypes.
inline double float_at(const Tensor& tensor, size_t index) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return tensor.const_data_ptr<float>()[index];
    case ScalarType::Double: return tensor.const_data_ptr<double>()[index];
    case ScalarType::Half: return static_cast<float>(tensor.const_data_ptr<executorch::aten::Half>()[index]);
    case ScalarType::BFloat16: return static_cast<float>(tensor.const_data_ptr<executorch::aten::BFloat16>()[index]);
    case ScalarType::Bool: return tensor.const_data_ptr<bool>()[index];
    case ScalarType::Byte: return tensor.const_data_ptr<uint8_t>()[index];
    case ScalarType::Char: return tensor.const_data_ptr<int8_t>()[index];
    case ScalarType::Short: return tensor.const_data_ptr<int16_t>()[index];
    case ScalarType::Int: return tensor.const_data_ptr<int32_t>()[index];
    case ScalarType::Long: return static_cast<double>(tensor.const_data_ptr<int64_t>()[index]);
    case ScalarType::UInt16: return tensor.const_data_ptr<uint16_t>()[index];
    case ScalarType::UInt32: return tensor.const_data_ptr<uint32_t>()[index];
    case ScalarType::UInt64: return static_cast<double>(tensor.const_data_ptr<uint64_t>()[index]);
    default:
      throw Failure("runtime", "The model returns a tensor of " + dtype_name(tensor.scalar_type()) + ", which harness cannot read.",
                    "Leave quality out (--no-quality), or let the model return float32.");
  }
}

// All tensors of a file by name, in its order. Throws Failure when it is missing, cut short or no safetensors file.
inline std::vector<std::pair<std::string, Held>> read_tensors(const std::string& path) {
  Failure damaged("usage", path + " holds no readable tensors.", "Was it pushed whole? Run again.");
  std::ifstream file(path, std::ios::binary);
  std::string all((std::istreambuf_iterator<char>(file)), {});
  uint64_t length = 0;
  if (all.size() < 8) throw damaged;
  memcpy(&length, all.data(), 8);
  if (length > all.size() - 8) throw damaged;
  std::string_view data = std::string_view(all).substr(8 + length);
  std::vector<std::pair<std::string, Held>> tensors;
  try {
    const Json header = Json::parse(std::string_view(all).substr(8, length));
    for (const auto& [name, entry] : header.object()) {
      if (name == "__metadata__") continue;
      const auto& span = entry["data_offsets"].array();
      size_t begin = static_cast<size_t>(span.at(0).integer()), end = static_cast<size_t>(span.at(1).integer());
      std::vector<executorch::aten::SizesType> sizes;
      size_t elements = 1;
      for (const Json& size : entry["shape"].array()) {
        sizes.push_back(static_cast<executorch::aten::SizesType>(size.integer()));
        elements *= static_cast<size_t>(size.integer());
      }
      const Dtype* dtype = nullptr;
      for (const Dtype& known : kDtypes)
        if (entry["dtype"].text() == known.safetensors) dtype = &known;
      if (dtype == nullptr)
        throw Failure("usage", "Array " + name + " is of dtype " + entry["dtype"].text() + ", which ExecuTorch does not run.",
                      "Convert it to the dtype that the model takes: see `harness models inspect`.");
      if (begin > end || end > data.size() || end - begin != elements * dtype->bytes) throw damaged;
      std::vector<uint8_t> bytes(data.begin() + static_cast<long>(begin), data.begin() + static_cast<long>(end));
      tensors.emplace_back(name, make_tensor(dtype->type, std::move(sizes), std::move(bytes)));
    }
  } catch (const Failure&) {
    throw;
  } catch (const std::exception&) {
    throw damaged;
  }
  return tensors;
}

// Values to be written, under their name: as float32 where that holds every one of them exactly, else as float64.
struct NumberArray {
  std::string name;
  Json::Array shape;
  std::vector<double> values;
  bool wide;
};

// Whether some values of a dtype have no float32.
inline bool is_wide(ScalarType type) {
  switch (type) {
    case ScalarType::Double:
    case ScalarType::Int:
    case ScalarType::Long:
    case ScalarType::UInt32:
    case ScalarType::UInt64: return true;
    default: return false;
  }
}

inline NumberArray number_array(std::string name, const Tensor& tensor) {
  NumberArray array{std::move(name), {}, std::vector<double>(static_cast<size_t>(tensor.numel())), is_wide(tensor.scalar_type())};
  for (auto size : tensor.sizes()) array.shape.push_back(static_cast<int64_t>(size));
  for (size_t i = 0; i < array.values.size(); i++) array.values[i] = float_at(tensor, i);
  return array;
}

// The bytes of a safetensors file.
inline std::string encode_tensors(const std::vector<NumberArray>& arrays) {
  Json::Object header;
  std::string data;
  for (const NumberArray& array : arrays) {
    size_t begin = data.size();
    for (double value : array.values) {
      auto narrow = static_cast<float>(value);
      if (array.wide) data.append(reinterpret_cast<const char*>(&value), sizeof value);
      else data.append(reinterpret_cast<const char*>(&narrow), sizeof narrow);
    }
    header.emplace_back(array.name, Json::Object{{"dtype", array.wide ? "F64" : "F32"},
                                                 {"shape", array.shape},
                                                 {"data_offsets", Json::Array{Json(begin), Json(data.size())}}});
  }
  std::string text = Json(std::move(header)).dump(), bytes(8, '\0');
  uint64_t length = text.size();
  memcpy(bytes.data(), &length, 8);
  return bytes + text + data;
}

}  // namespace harness
