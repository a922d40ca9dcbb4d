/* What worker and emulator agree on: the classes of instructions, and the marks between which they are counted.
 *
 * C as well as C++: the plugin that counts is C. A mark is a prctl that no kernel knows (it answers EINVAL); the plugin
 * sees it pass. At each end it appends one record, HARNESS_CLASSES counts of 64 bits, to the file that both know. */
#pragma once

#define HARNESS_MARK 0x7e7e0000ul
#define HARNESS_MARK_BEGIN (HARNESS_MARK | 1)
#define HARNESS_MARK_END (HARNESS_MARK | 2)

/* Every instruction is in the first class; the others overlap. */
#define HARNESS_CLASSES 10
#define HARNESS_CLASS_NAMES                                                                                     \
  {"all", "load_store", "branch", "simd_fp", "fmla_f32", "fmla_f16", "dot_i8", "mmla_i8", "sve", "sme"}
enum { ALL, LOAD_STORE, BRANCH, SIMD_FP, FMLA_F32, FMLA_F16, DOT_I8, MMLA_I8, SVE, SME };
