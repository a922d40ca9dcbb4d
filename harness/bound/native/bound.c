/* One GPT in the barest loops: how fast its weights and tokens can be on this processor, on one thread.

   A yardstick for runtimes, and none itself: it knows the network of `harness.models.gpt` alone, whole or cut, in float32
   or in integers of 8 or 4 bits with a step for each output channel. `harness.bound.file` has the layout of a file.

   * A matrix is laid out once, when a model is opened, in the order in which a token reads it: panels of 16 output
     channels, and of each panel the inputs in order, 4 of every channel together (8 where they are 4 bits wide). All
     sums of a panel stay in registers, and none is added across a register until its end.
   * Activations are rounded to 8 bits for each token, by the formula of PyTorch's per-token quantisation, on which the
     `.pte` of the same weights rests. Sums of products are exact, so that all variants differ in float32 alone.
   * Keys lie as [heads, channels, context] and values as [heads, context, channels], in float32; attention reads the
     positions in use and no others.
   * Several tokens (a prompt) share each panel, four at a time. Nothing else is done for prompts.

   The instructions are those that the compiler is asked for: AVX-512-VNNI, AVX2, NEON with dot products, or none, the
   plain loops. Loops of float32 are written for the compiler's own vectors.

   A file is not trusted: sizes, indices and numbers are checked before anything is computed. Functions return NULL, or
   what is wrong as half a sentence. */

#define _GNU_SOURCE
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#if defined(__AVX512VNNI__)
#include <immintrin.h>
#define KERNELS "avx512-vnni"
enum { LANES = 16 };
#elif defined(__AVX2__)
#include <immintrin.h>
#define KERNELS "avx2"
enum { LANES = 8 };
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#define KERNELS "neon-dotprod"
enum { LANES = 4 };
#else
#define KERNELS "plain"
enum { LANES = 4 };
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float Floats __attribute__((vector_size(4 * LANES), may_alias));
typedef int32_t Integers __attribute__((vector_size(4 * LANES), may_alias));
typedef float LooseFloats __attribute__((vector_size(4 * LANES), may_alias, aligned(4)));

enum {
    ROWS = 16,             /* output channels of a panel */
    VECTORS = ROWS / LANES, /* vectors of them */
    GROUP = 4,             /* inputs of a channel that lie together */
    TOGETHER = 4,          /* tokens that share a panel */
    WIDE = 64,             /* what sizes of buffers are filled up to: four of the widest vectors */
    LARGEST = 1 << 16,     /* of any size in a file, so that sums fit into 32 bits: 255 * 128 * 2^16 < 2^31 */
    MOST_LAYERS = 1 << 10,
};
#define MOST_BYTES ((uint64_t)1 << 31)
static const char MAGIC[8] = {'b', 'o', 'u', 'n', 'd', ' ', '1', '\n'};
static const char SHORT[] = "it is cut short";

/* What the products of 8-bit weights take in place of a rounded activation: as it is, wider, or without a sign. */
#if defined(__AVX512VNNI__)
typedef uint8_t Operand;
enum { OFFSET = 128 };
#elif defined(__AVX2__)
typedef int16_t Operand;
enum { OFFSET = 0 };
#else
typedef int8_t Operand;
enum { OFFSET = 0 };
#endif

typedef struct {
    int32_t bits, rows, columns;
    int32_t groups;       /* of GROUP inputs; of two of them in 4 bits; of 8 inputs in float32 */
    const uint8_t *given; /* in the file */
    uint8_t *panels;
    float *steps;   /* by channel, up to whole panels */
    int32_t *sums;  /* of the levels of a channel */
} Matrix;

typedef struct {
    int32_t heads, qk, v, neurons, attention_rows, ffn_rows;
    float *attention_norm, *ffn_norm;
    Matrix queries, keys, values, proj, fc, out;
    int32_t *attention_index, *ffn_index;
    float *key_cache, *value_cache;
} Layer;

typedef struct {
    int32_t vocabulary, context, width, layers, relu;
    int32_t used; /* positions of the cache that hold a token */
    int32_t stride; /* positions of a row of keys */
    int32_t longest; /* inputs of the widest product, filled up */
    Matrix tokens, positions;
    float *final_norm;
    Layer *layer;
    uint8_t *arena;
    uint64_t arena_bytes;
    /* Of each token of a call: */
    float *residual, *normed, *queries, *new_keys, *new_values, *mixed, *hidden, *update;
    int8_t *levels;
    Operand *operands;
    float *scales;
    int32_t *zeros, *level_sums;
    float *scores, *mean, *logits;
} Model;

INLINE int64_t filled(int64_t count, int64_t multiple) {
    return (count + multiple - 1) / multiple * multiple;
}

/* ---- float32 ---- */

/* exp() of x <= 0 in vectors: 2^n e^r with |r| <= ln(2) / 2 (Cody and Waite's reduction), a Taylor polynomial of e^r. */
INLINE float exp_of(float x) {
    x = x > -87.0f ? x : -87.0f; /* also of what is no number */
    float n = rintf(x * 1.44269504088896341f);
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    union {
        int32_t bits;
        float value;
    } power = {((int32_t)n + 127) << 23};
    return p * power.value;
}

/* GELU by the error function, of which Abramowitz and Stegun's approximation 7.1.26 is off by 1.5e-7 at most. */
INLINE float gelu(float x) {
    float z = fabsf(x) * 0.70710678118654752f;
    float t = 1.0f / (1.0f + 0.3275911f * z);
    float p = 1.061405429f;
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    float erf_of = 1.0f - p * t * exp_of(-z * z);
    return 0.5f * x * (1.0f + (x < 0 ? -erf_of : erf_of));
}

INLINE float sum_over(Floats parts) {
    float sum = 0;
    for (int i = 0; i < LANES; i++)
        sum += parts[i];
    return sum;
}

INLINE Floats greater(Floats a, Floats b) {
    Integers first = a > b;
    return (Floats)(((Integers)a & first) | ((Integers)b & ~first));
}

/* The least and the greatest of x [n] and of what `low` and `high` are. */
INLINE void range(const float *x, int32_t n, float *low, float *high) {
    Floats above = *high - (Floats){0}, below = -*low - (Floats){0};
    int32_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        Floats part = *(const LooseFloats *)(x + i);
        above = greater(part, above);
        below = greater(-part, below);
    }
    for (int lane = 0; lane < LANES; lane++) {
        *high = above[lane] > *high ? above[lane] : *high;
        *low = -below[lane] < *low ? -below[lane] : *low;
    }
    for (; i < n; i++) {
        *high = x[i] > *high ? x[i] : *high;
        *low = x[i] < *low ? x[i] : *low;
    }
}

/* Layer norm without a bias, its eps PyTorch's. */
static void norm(const float *x, const float *weight, float *out, int32_t width) {
    Floats parts = {0}, square_parts = {0};
    int32_t i = 0;
    for (; i + LANES <= width; i += LANES)
        parts += *(const LooseFloats *)(x + i);
    float sum = sum_over(parts);
    for (; i < width; i++)
        sum += x[i];
    float mean = sum / width;
    for (i = 0; i + LANES <= width; i += LANES) {
        Floats part = *(const LooseFloats *)(x + i) - mean;
        square_parts += part * part;
    }
    float squares = sum_over(square_parts);
    for (; i < width; i++)
        squares += (x[i] - mean) * (x[i] - mean);
    float factor = 1.0f / sqrtf(squares / width + 1e-5f);
    for (i = 0; i < width; i++)
        out[i] = (x[i] - mean) * factor * weight[i];
}

/* ---- products ---- */

typedef struct {
    const float *values; /* [tokens, stride], zeros behind `columns` */
    const int8_t *levels;
    const Operand *operands;
    const float *scales;
    const int32_t *zeros, *sums;
    int64_t stride;
} Inputs;

/* What is no number becomes the least. */
INLINE float clipped(float level) {
    level = level > -128.0f ? level : -128.0f;
    return level < 127.0f ? level : 127.0f;
}

/* Rounds x [columns] to `levels`, zeros behind it. */
static void round_token(const float *x, int32_t columns, int64_t stride, int8_t *levels, Operand *operands,
                        float *scale_of, int32_t *zero_of, int32_t *sum_of) {
    float low = 0, high = 0;
    range(x, columns, &low, &high);
    float scale = (high - low) / 255.0f;
    scale = scale > FLT_EPSILON ? scale : FLT_EPSILON;
    float from_low = low / scale, from_high = high / scale;
    float zero = (-128.0f + from_low) + (127.0f + from_high) > 0 ? -128.0f - from_low : 127.0f - from_high;
    zero = rintf(clipped(zero));
    float inverse = (float)(1.0 / (double)scale);
    int32_t sum = 0;
    for (int32_t i = 0; i < columns; i++) {
        levels[i] = (int8_t)(int32_t)clipped(rintf(x[i] * inverse + zero));
        sum += levels[i];
    }
    memset(levels + columns, 0, stride - columns);
    for (int32_t i = 0; i < stride; i++)
        operands[i] = (Operand)(levels[i] + OFFSET);
    *scale_of = scale;
    *zero_of = (int32_t)zero;
    *sum_of = sum;
}

INLINE int32_t four(const void *bytes) {
    int32_t word;
    memcpy(&word, bytes, 4);
    return word;
}

/* The sums of a panel for `tokens` tokens, each [ROWS]. The loops over tokens and vectors have constant bounds where
   these are called, and are unrolled. */
#if defined(__AVX2__) && !defined(__AVX512VNNI__)

/* 8-bit weights become 16 bits wide and are multiplied in pairs: no sum of two products of 8 bits may clip. `quarters`
   of the panel, 4 channels each, from `first` on. */
INLINE void part_of_8(const Matrix *m, const uint8_t *panel, const Inputs *x, int tokens, int first, int quarters,
                      int32_t (*sums)[ROWS]) {
    __m256i total[TOGETHER][4];
    for (int t = 0; t < tokens; t++)
        for (int q = 0; q < quarters; q++)
            total[t][q] = _mm256_setzero_si256();
    for (int64_t g = 0; g < m->groups; g++) {
        __m256i given[TOGETHER];
        for (int t = 0; t < tokens; t++) {
            int64_t word;
            memcpy(&word, x->operands + t * x->stride + g * GROUP, 8);
            given[t] = _mm256_set1_epi64x(word);
        }
        for (int q = 0; q < quarters; q++) {
            const __m128i *levels = (const __m128i *)(panel + g * ROWS * GROUP) + first + q;
            __m256i wide = _mm256_cvtepi8_epi16(_mm_load_si128(levels));
            for (int t = 0; t < tokens; t++)
                total[t][q] = _mm256_add_epi32(total[t][q], _mm256_madd_epi16(wide, given[t]));
        }
    }
    for (int t = 0; t < tokens; t++)
        for (int q = 0; q < quarters; q += 2) {
            __m256i pairs = _mm256_hadd_epi32(total[t][q], total[t][q + 1]);
            pairs = _mm256_permute4x64_epi64(pairs, 0xD8);
            _mm256_storeu_si256((__m256i *)(sums[t] + 4 * (first + q)), pairs);
        }
}

INLINE void sums_of_8(const Matrix *m, const uint8_t *panel, const Inputs *x, int tokens, int32_t (*sums)[ROWS]) {
    if (tokens == 1) {
        part_of_8(m, panel, x, tokens, 0, 4, sums);
    } else {
        part_of_8(m, panel, x, tokens, 0, 2, sums);
        part_of_8(m, panel, x, tokens, 2, 2, sums);
    }
}

/* Levels from 0 to 15 times 8 bits: of two products the sum is at most 2 * 15 * 128, and 8 such sums fit into 16 bits. */
INLINE void sums_of_4(const Matrix *m, const uint8_t *panel, const Inputs *x, int tokens, int32_t (*sums)[ROWS]) {
    enum { BEFORE_OVERFLOW = 4 };
    const __m256i low = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    for (int half = 0; half < 2; half++) {
        __m256i total[TOGETHER];
        for (int t = 0; t < tokens; t++)
            total[t] = _mm256_setzero_si256();
        for (int64_t begin = 0; begin < m->groups; begin += BEFORE_OVERFLOW) {
            int64_t end = begin + BEFORE_OVERFLOW < m->groups ? begin + BEFORE_OVERFLOW : m->groups;
            __m256i narrow[TOGETHER];
            for (int t = 0; t < tokens; t++)
                narrow[t] = _mm256_setzero_si256();
            for (int64_t g = begin; g < end; g++) {
                __m256i both = _mm256_load_si256((const __m256i *)(panel + g * ROWS * GROUP) + half);
                __m256i lower = _mm256_and_si256(both, low);
                __m256i upper = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
                for (int t = 0; t < tokens; t++) {
                    const int8_t *given = x->levels + t * x->stride + g * 2 * GROUP;
                    __m256i first = _mm256_maddubs_epi16(lower, _mm256_set1_epi32(four(given)));
                    __m256i second = _mm256_maddubs_epi16(upper, _mm256_set1_epi32(four(given + GROUP)));
                    narrow[t] = _mm256_add_epi16(narrow[t], _mm256_add_epi16(first, second));
                }
            }
            for (int t = 0; t < tokens; t++)
                total[t] = _mm256_add_epi32(total[t], _mm256_madd_epi16(narrow[t], ones));
        }
        for (int t = 0; t < tokens; t++)
            _mm256_storeu_si256((__m256i *)(sums[t] + 8 * half), total[t]);
    }
}

#else

/* A vector of 4 LANES bytes, and one of 4 repeated inputs, multiplied byte by byte; each 4 products are added to their
   lane. `dot_8` takes weights with a sign, `dot_4` the 16 levels from 0 on. */
#if defined(__AVX512VNNI__)
INLINE Integers dot_8(Integers sum, Integers weights, Integers given) {
    return (Integers)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)given, (__m512i)weights);
}
INLINE Integers dot_4(Integers sum, Integers weights, Integers given) {
    return (Integers)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)weights, (__m512i)given);
}
#elif defined(__ARM_FEATURE_DOTPROD)
INLINE Integers dot_8(Integers sum, Integers weights, Integers given) {
    return (Integers)vdotq_s32((int32x4_t)sum, (int8x16_t)weights, (int8x16_t)given);
}
#define dot_4 dot_8
#else
INLINE Integers dot_8(Integers sum, Integers weights, Integers given) {
    int8_t w[4 * LANES], x[4 * LANES];
    memcpy(w, &weights, sizeof w);
    memcpy(x, &given, sizeof x);
    for (int i = 0; i < 4 * LANES; i++)
        sum[i / 4] += w[i] * x[i];
    return sum;
}
#define dot_4 dot_8
#endif

INLINE Integers repeated(const void *bytes) {
    return four(bytes) - (Integers){0};
}

/* Of one token two groups alternate, so that a sum need not wait for the one before it. */
INLINE void sums_of_8(const Matrix *m, const uint8_t *panel, const Inputs *x, int tokens, int32_t (*sums)[ROWS]) {
    Integers total[TOGETHER][VECTORS] = {{{0}}}, other[VECTORS] = {{0}};
    const Integers *weights = (const Integers *)panel;
    int64_t g = 0;
    if (tokens == 1)
        for (; g + 2 <= m->groups; g += 2)
            for (int v = 0; v < VECTORS; v++) {
                total[0][v] = dot_8(total[0][v], weights[g * VECTORS + v], repeated(x->operands + g * GROUP));
                other[v] = dot_8(other[v], weights[(g + 1) * VECTORS + v], repeated(x->operands + (g + 1) * GROUP));
            }
    for (; g < m->groups; g++)
        for (int v = 0; v < VECTORS; v++)
            for (int t = 0; t < tokens; t++)
                total[t][v] =
                    dot_8(total[t][v], weights[g * VECTORS + v], repeated(x->operands + t * x->stride + g * GROUP));
    for (int v = 0; v < VECTORS; v++)
        total[0][v] += other[v];
    for (int t = 0; t < tokens; t++)
        memcpy(sums[t], total[t], sizeof sums[t]);
}

INLINE void sums_of_4(const Matrix *m, const uint8_t *panel, const Inputs *x, int tokens, int32_t (*sums)[ROWS]) {
    Integers total[TOGETHER][VECTORS] = {{{0}}}, other[TOGETHER][VECTORS] = {{{0}}};
    const Integers *weights = (const Integers *)panel;
    const Integers low = 0x0F0F0F0F - (Integers){0};
    for (int64_t g = 0; g < m->groups; g++)
        for (int v = 0; v < VECTORS; v++) {
            Integers both = weights[g * VECTORS + v];
            Integers lower = both & low, upper = (both >> 4) & low;
            for (int t = 0; t < tokens; t++) {
                const int8_t *given = x->levels + t * x->stride + g * 2 * GROUP;
                total[t][v] = dot_4(total[t][v], lower, repeated(given));
                other[t][v] = dot_4(other[t][v], upper, repeated(given + GROUP));
            }
        }
    for (int t = 0; t < tokens; t++) {
        for (int v = 0; v < VECTORS; v++)
            total[t][v] += other[t][v];
        memcpy(sums[t], total[t], sizeof sums[t]);
    }
}

#endif

/* float32: for each input the 16 channels, 8 inputs at a time with sums of their own. */
INLINE void sums_of_32(const Matrix *m, const uint8_t *panel, const Inputs *x, int tokens, float (*sums)[ROWS]) {
    enum { APART = 8 / VECTORS, EACH = 8 };
    const Floats *weights = (const Floats *)panel;
    Floats total[TOGETHER][VECTORS] = {{{0}}};
    if (tokens == 1) {
        Floats apart[APART][VECTORS] = {{{0}}};
        for (int64_t i = 0; i < (int64_t)m->groups * EACH; i += APART)
            for (int a = 0; a < APART; a++)
                for (int v = 0; v < VECTORS; v++)
                    apart[a][v] += weights[(i + a) * VECTORS + v] * x->values[i + a];
        for (int a = 0; a < APART; a++)
            for (int v = 0; v < VECTORS; v++)
                total[0][v] += apart[a][v];
    } else {
        for (int64_t i = 0; i < (int64_t)m->groups * EACH; i++)
            for (int v = 0; v < VECTORS; v++)
                for (int t = 0; t < tokens; t++)
                    total[t][v] += weights[i * VECTORS + v] * x->values[t * x->stride + i];
    }
    for (int t = 0; t < tokens; t++)
        memcpy(sums[t], total[t], sizeof sums[t]);
}

INLINE int64_t panel_bytes(const Matrix *m) {
    return (int64_t)m->groups * (m->bits == 32 ? 8 * ROWS * 4 : ROWS * GROUP);
}

/* The outputs of a panel for `tokens` tokens, the first of which is the first of `x`: [ROWS] each at out + t * stride. */
INLINE void panel_of(const Matrix *m, int64_t number, const Inputs *x, int tokens, float *out, int64_t stride) {
    const uint8_t *panel = m->panels + number * panel_bytes(m);
    if (m->bits == 32) {
        float sums[TOGETHER][ROWS];
        sums_of_32(m, panel, x, tokens, sums);
        for (int t = 0; t < tokens; t++)
            memcpy(out + t * stride, sums[t], sizeof sums[t]);
        return;
    }
    int32_t sums[TOGETHER][ROWS];
    if (m->bits == 8)
        sums_of_8(m, panel, x, tokens, sums);
    else
        sums_of_4(m, panel, x, tokens, sums);
    const float *steps = m->steps + number * ROWS;
    const int32_t *of_levels = m->sums + number * ROWS;
    for (int t = 0; t < tokens; t++) {
        int32_t from_inputs = m->bits == 4 ? 8 * x->sums[t] : 0;
        int32_t from_levels = x->zeros[t] + (m->bits == 8 ? OFFSET : 0);
        float scale = x->scales[t], outputs[ROWS];
        for (int r = 0; r < ROWS; r++)
            outputs[r] = (float)(sums[t][r] - from_inputs - from_levels * of_levels[r]) * (scale * steps[r]);
        memcpy(out + t * stride, outputs, sizeof outputs);
    }
}

/* x W^T for `tokens` tokens: out [tokens, stride], whole panels. */
static void product(const Matrix *m, Inputs x, int32_t tokens, float *out, int64_t stride) {
    int64_t panels = filled(m->rows, ROWS) / ROWS;
    for (int64_t p = 0; p < panels; p++) {
        Inputs part = x;
        float *to = out + p * ROWS;
        int32_t t = 0;
        for (; t + TOGETHER <= tokens; t += TOGETHER) {
            panel_of(m, p, &part, TOGETHER, to + t * stride, stride);
            part.values += TOGETHER * x.stride, part.levels += TOGETHER * x.stride;
            part.operands += TOGETHER * x.stride;
            part.scales += TOGETHER, part.zeros += TOGETHER, part.sums += TOGETHER;
        }
        for (; t < tokens; t++) {
            panel_of(m, p, &part, 1, to + t * stride, stride);
            part.values += x.stride, part.levels += x.stride, part.operands += x.stride;
            part.scales++, part.zeros++, part.sums++;
        }
    }
}

/* What a product takes of x [tokens, stride]: rounded where its weights are integers. */
static Inputs inputs_of(Model *m, const Matrix *first, float *x, int32_t tokens, int64_t stride) {
    int32_t columns = first->columns;
    for (int32_t t = 0; t < tokens; t++) {
        memset(x + t * stride + columns, 0, (stride - columns) * sizeof *x);
        if (first->bits != 32)
            round_token(x + t * stride, columns, stride, m->levels + t * stride, m->operands + t * stride,
                        m->scales + t, m->zeros + t, m->level_sums + t);
    }
    return (Inputs){x, m->levels, m->operands, m->scales, m->zeros, m->level_sums, stride};
}

/* Row `number` of a table [rows, W], in float32. */
static void add_row(const Matrix *m, int32_t number, float *out) {
    const uint8_t *panel = m->panels + number / ROWS * panel_bytes(m);
    int32_t row = number % ROWS;
    for (int32_t i = 0; i < m->columns; i++) {
        if (m->bits == 32)
            out[i] += ((const float *)panel)[(int64_t)i * ROWS + row];
        else
            out[i] += (float)(int8_t)panel[((int64_t)(i / GROUP) * ROWS + row) * GROUP + i % GROUP] * m->steps[number];
    }
}

/* ---- the network ---- */

/* Scores of one query q [qk] with the first n keys, [qk, stride]: up to whole blocks. */
static void score(const float *q, int32_t qk, const float *keys, int64_t stride, int32_t n, float *scores) {
    enum { BLOCK = 4 };
    for (int32_t begin = 0; begin < n; begin += BLOCK * LANES) {
        Floats total[BLOCK] = {{0}};
        for (int32_t c = 0; c < qk; c++) {
            const Floats *row = (const Floats *)(keys + c * stride + begin);
            for (int b = 0; b < BLOCK; b++)
                total[b] += q[c] * row[b];
        }
        memcpy(scores + begin, total, sizeof total);
    }
}

static void softmax(float *scores, int32_t n) {
    float most = scores[0], least = most;
    range(scores, n, &least, &most);
    for (int32_t i = 0; i < n; i++)
        scores[i] = exp_of(scores[i] - most);
    Floats parts = {0};
    int32_t last = 0;
    for (; last + LANES <= n; last += LANES)
        parts += *(const LooseFloats *)(scores + last);
    float sum = sum_over(parts);
    for (; last < n; last++)
        sum += scores[last];
    float factor = 1.0f / sum;
    for (int32_t i = 0; i < n; i++)
        scores[i] *= factor;
}

/* `vectors` vectors of the mean of n values, weighted by `scores`. */
INLINE void mix_part(const float *scores, int32_t n, const float *values, int64_t stride, int vectors, float *out) {
    Floats total[4] = {{0}};
    for (int32_t i = 0; i < n; i++) {
        const LooseFloats *row = (const LooseFloats *)(values + i * stride);
        for (int v = 0; v < vectors; v++)
            total[v] += scores[i] * row[v];
    }
    memcpy(out, total, vectors * sizeof *total);
}

static void mix(const float *scores, int32_t n, const float *values, int64_t stride, float *out) {
    int64_t c = 0;
    for (; c + 4 * LANES <= stride; c += 4 * LANES)
        mix_part(scores, n, values + c, stride, 4, out + c);
    for (; c < stride; c += LANES)
        mix_part(scores, n, values + c, stride, 1, out + c);
}

/* Attention of `tokens` tokens, the first at `begin`, to all up to each; those before `from` are not asked for. */
static void attend(Model *m, Layer *layer, int32_t tokens, int32_t begin, int32_t from) {
    int32_t heads = layer->heads, qk = layer->qk, v = layer->v;
    int64_t of_keys = filled(heads * qk, WIDE), of_values = filled((int64_t)heads * v, WIDE);
    int64_t v_stride = filled(v, ROWS);
    for (int32_t t = 0; t < tokens; t++)
        for (int32_t h = 0; h < heads; h++) {
            const float *key = m->new_keys + t * of_keys + h * qk;
            float *keys = layer->key_cache + (int64_t)h * qk * m->stride + begin + t;
            for (int32_t c = 0; c < qk; c++)
                keys[(int64_t)c * m->stride] = key[c];
            const float *value = m->new_values + t * of_values + h * v;
            memcpy(layer->value_cache + ((int64_t)h * m->context + begin + t) * v_stride, value, v * sizeof *value);
        }
    for (int32_t h = 0; h < heads; h++)
        for (int32_t t = from; t < tokens; t++) {
            int32_t n = begin + t + 1;
            score(m->queries + (t - from) * of_keys + h * qk, qk, layer->key_cache + (int64_t)h * qk * m->stride,
                  m->stride, n, m->scores);
            softmax(m->scores, n);
            mix(m->scores, n, layer->value_cache + (int64_t)h * m->context * v_stride, v_stride, m->mean);
            memcpy(m->mixed + (t - from) * of_values + h * v, m->mean, v * sizeof *m->mean);
        }
}

static void add_rows(const Model *m, const float *update, int64_t stride, const int32_t *index, int32_t count,
                     float *residual, int32_t tokens) {
    for (int32_t t = 0; t < tokens; t++) {
        float *to = residual + t * (int64_t)m->width;
        const float *from = update + t * stride;
        if (index == NULL)
            for (int32_t i = 0; i < count; i++)
                to[i] += from[i];
        else
            for (int32_t i = 0; i < count; i++)
                to[index[i]] += from[i];
    }
}

static void norms(const Model *m, const float *weight, const float *residual, int32_t tokens) {
    int64_t stride = filled(m->width, WIDE);
    for (int32_t t = 0; t < tokens; t++)
        norm(residual + t * (int64_t)m->width, weight, m->normed + t * stride, m->width);
}

/* One block; `from` is the first token that is asked for behind its keys and values. The residuals of these. */
static float *block(Model *m, Layer *layer, float *residual, int32_t tokens, int32_t begin, int32_t from) {
    int64_t width = filled(m->width, WIDE);
    if (layer->heads) {
        int64_t of_keys = filled(layer->heads * layer->qk, WIDE), of_values = filled(layer->heads * layer->v, WIDE);
        norms(m, layer->attention_norm, residual, tokens);
        Inputs x = inputs_of(m, &layer->keys, m->normed, tokens, width);
        product(&layer->keys, x, tokens, m->new_keys, of_keys);
        product(&layer->values, x, tokens, m->new_values, of_values);
        x.values += from * width, x.levels += from * width, x.operands += from * width;
        x.scales += from, x.zeros += from, x.sums += from;
        product(&layer->queries, x, tokens - from, m->queries, of_keys);
        attend(m, layer, tokens, begin, from);
        x = inputs_of(m, &layer->proj, m->mixed, tokens - from, of_values);
        product(&layer->proj, x, tokens - from, m->update, width);
        residual += from * (int64_t)m->width;
        add_rows(m, m->update, width, layer->attention_index, layer->proj.rows, residual, tokens - from);
    } else {
        residual += from * (int64_t)m->width;
    }
    tokens -= from;
    if (layer->neurons) {
        int64_t of_neurons = filled(layer->neurons, WIDE);
        norms(m, layer->ffn_norm, residual, tokens);
        Inputs x = inputs_of(m, &layer->fc, m->normed, tokens, width);
        product(&layer->fc, x, tokens, m->hidden, of_neurons);
        for (int32_t t = 0; t < tokens; t++) {
            float *hidden = m->hidden + t * of_neurons;
            int32_t neurons = layer->neurons;
            if (m->relu)
                for (int32_t i = 0; i < neurons; i++)
                    hidden[i] = hidden[i] > 0 ? hidden[i] : 0;
            else
                for (int32_t i = 0; i < neurons; i++)
                    hidden[i] = gelu(hidden[i]);
        }
        x = inputs_of(m, &layer->out, m->hidden, tokens, of_neurons);
        product(&layer->out, x, tokens, m->update, width);
        add_rows(m, m->update, width, layer->ffn_index, layer->out.rows, residual, tokens);
    }
    return residual;
}

/* The logits of the last of `count` tokens [vocabulary], or of all [count, vocabulary], to `logits`. The first token is
   at `begin`; 0 begins a new sequence. */
const char *bound_run(Model *m, const int32_t *tokens, int32_t count, int32_t begin, int32_t all, float *logits) {
    if (count < 1 || begin < 0 || begin > m->context - count)
        return "the tokens do not fit into its context";
    if (begin > m->used)
        return "a token is at a position behind a gap";
    for (int32_t t = 0; t < count; t++)
        if (tokens[t] < 0 || tokens[t] >= m->vocabulary)
            return "a token is not in its vocabulary";
    m->used = 0; /* until all layers have been through */
    float *residual = m->residual;
    for (int32_t t = 0; t < count; t++) {
        float *row = residual + t * (int64_t)m->width;
        memset(row, 0, m->width * sizeof *row);
        add_row(&m->tokens, tokens[t], row);
        add_row(&m->positions, begin + t, row);
    }
    int32_t left = count;
    for (int32_t number = 0; number < m->layers; number++) {
        int32_t from = all || number < m->layers - 1 ? 0 : count - 1;
        residual = block(m, m->layer + number, residual, left, begin, from);
        left -= from;
    }
    if (!all && left > 1) {
        residual += (left - 1) * (int64_t)m->width;
        left = 1;
    }
    int64_t width = filled(m->width, WIDE), padded = filled(m->vocabulary, ROWS);
    norms(m, m->final_norm, residual, left);
    for (int32_t t = 0; t < left; t++) {
        Inputs x = inputs_of(m, &m->tokens, m->normed + t * width, 1, width);
        product(&m->tokens, x, 1, m->logits, padded);
        memcpy(logits + t * (int64_t)m->vocabulary, m->logits, m->vocabulary * sizeof *logits);
    }
    m->used = begin + count;
    return NULL;
}

/* ---- files ---- */

typedef struct {
    const uint8_t *at;
    uint64_t left;
} Cursor;

static const uint8_t *take(Cursor *cursor, uint64_t bytes) {
    if (bytes > cursor->left)
        return NULL;
    const uint8_t *taken = cursor->at;
    cursor->at += bytes;
    cursor->left -= bytes;
    return taken;
}

static int take_number(Cursor *cursor, int32_t *number) {
    const uint8_t *bytes = take(cursor, 4);
    if (bytes != NULL)
        *number = four(bytes);
    return bytes != NULL;
}

static const char *take_floats(Cursor *cursor, int64_t count, float **floats) {
    const uint8_t *bytes = take(cursor, count * 4);
    if (bytes == NULL)
        return SHORT;
    *floats = malloc(count * 4);
    if (*floats == NULL)
        return "memory";
    memcpy(*floats, bytes, count * 4);
    for (int64_t i = 0; i < count; i++)
        if (!isfinite((*floats)[i]))
            return "a number in it is not finite";
    return NULL;
}

/* Width of its levels in bits, steps of float32 (none in float32), levels row by row: of 4 bits two in a byte, the first
   the lower, each row whole bytes. */
static const char *take_matrix(Cursor *cursor, int32_t rows, int32_t columns, Matrix *m) {
    if (!take_number(cursor, &m->bits))
        return SHORT;
    if (m->bits != 4 && m->bits != 8 && m->bits != 32)
        return "the width of a weight is none that it can be";
    m->rows = rows;
    m->columns = columns;
    m->groups = (int32_t)(filled(columns, m->bits == 8 ? GROUP : 8) / (m->bits == 8 ? GROUP : 8));
    if (m->bits != 32) {
        const uint8_t *steps = take(cursor, (uint64_t)rows * 4);
        int64_t padded = filled(rows, ROWS);
        if (steps == NULL)
            return SHORT;
        m->steps = calloc(padded, sizeof *m->steps);
        m->sums = calloc(padded, sizeof *m->sums);
        if (m->steps == NULL || m->sums == NULL)
            return "memory";
        memcpy(m->steps, steps, rows * sizeof *m->steps);
        for (int32_t r = 0; r < rows; r++)
            if (!isfinite(m->steps[r]) || m->steps[r] <= 0)
                return "a step of its weights is not above zero";
    }
    uint64_t row_bytes = m->bits == 32 ? columns * 4 : m->bits == 8 ? columns : (columns + 1) / 2;
    m->given = take(cursor, rows * row_bytes);
    if (m->given == NULL)
        return SHORT;
    for (int64_t i = 0; m->bits == 32 && i < (int64_t)rows * columns; i++) {
        float weight;
        memcpy(&weight, m->given + i * 4, 4);
        if (!isfinite(weight))
            return "a weight in it is not finite";
    }
    return NULL;
}

static const char *take_index(Cursor *cursor, int32_t count, int32_t width, int32_t **index) {
    if (count == 0)
        return NULL; /* all rows */
    const uint8_t *bytes = take(cursor, (uint64_t)count * 4);
    if (bytes == NULL)
        return SHORT;
    *index = malloc(count * sizeof **index);
    if (*index == NULL)
        return "memory";
    memcpy(*index, bytes, count * sizeof **index);
    for (int32_t i = 0; i < count; i++)
        if ((*index)[i] < (i ? (*index)[i - 1] + 1 : 0) || (*index)[i] >= width)
            return "the channels that a layer writes are none of its width";
    return NULL;
}

static const char *take_layer(Cursor *cursor, const Model *m, Layer *layer) {
    const char *wrong;
    int32_t sizes[6];
    for (int i = 0; i < 6; i++) {
        if (!take_number(cursor, sizes + i))
            return SHORT;
        if (sizes[i] < 0 || sizes[i] > LARGEST)
            return "a size of a layer is out of range";
    }
    layer->heads = sizes[0], layer->qk = sizes[1], layer->v = sizes[2], layer->neurons = sizes[3];
    layer->attention_rows = sizes[4], layer->ffn_rows = sizes[5];
    int64_t scores = (int64_t)layer->heads * layer->qk, mixed = (int64_t)layer->heads * layer->v;
    if (scores > LARGEST || mixed > LARGEST || layer->attention_rows > m->width || layer->ffn_rows > m->width ||
        (layer->heads && (layer->qk < 1 || layer->v < 1)))
        return "a size of a layer is out of range";
    int32_t written = layer->attention_rows ? layer->attention_rows : m->width;
    if (layer->heads)
        if ((wrong = take_floats(cursor, m->width, &layer->attention_norm)) ||
            (wrong = take_matrix(cursor, scores, m->width, &layer->queries)) ||
            (wrong = take_matrix(cursor, scores, m->width, &layer->keys)) ||
            (wrong = take_matrix(cursor, mixed, m->width, &layer->values)) ||
            (wrong = take_matrix(cursor, written, mixed, &layer->proj)) ||
            (wrong = take_index(cursor, layer->attention_rows, m->width, &layer->attention_index)))
            return wrong;
    written = layer->ffn_rows ? layer->ffn_rows : m->width;
    if (layer->neurons)
        if ((wrong = take_floats(cursor, m->width, &layer->ffn_norm)) ||
            (wrong = take_matrix(cursor, layer->neurons, m->width, &layer->fc)) ||
            (wrong = take_matrix(cursor, written, layer->neurons, &layer->out)) ||
            (wrong = take_index(cursor, layer->ffn_rows, m->width, &layer->ffn_index)))
            return wrong;
    if (layer->heads && ((layer->queries.bits == 32) != (layer->keys.bits == 32) ||
                         (layer->keys.bits == 32) != (layer->values.bits == 32)))
        return "a layer is in integers in part";
    return NULL;
}

static const char *take_model(Cursor *cursor, Model *m) {
    const char *wrong;
    const uint8_t *magic = take(cursor, sizeof MAGIC);
    if (magic == NULL || memcmp(magic, MAGIC, sizeof MAGIC))
        return "it does not begin as such a file does";
    int32_t sizes[5];
    for (int i = 0; i < 5; i++)
        if (!take_number(cursor, sizes + i))
            return SHORT;
    m->vocabulary = sizes[0], m->context = sizes[1], m->width = sizes[2], m->layers = sizes[3], m->relu = sizes[4];
    for (int i = 0; i < 3; i++)
        if (sizes[i] < 1 || sizes[i] > LARGEST)
            return "a size of it is out of range";
    if (m->layers < 0 || m->layers > MOST_LAYERS || m->relu < 0 || m->relu > 1)
        return "a size of it is out of range";
    if ((wrong = take_matrix(cursor, m->vocabulary, m->width, &m->tokens)) ||
        (wrong = take_matrix(cursor, m->context, m->width, &m->positions)))
        return wrong;
    if (m->tokens.bits == 4 || m->positions.bits == 4)
        return "a table of it is of 4 bits";
    m->layer = calloc(m->layers ? m->layers : 1, sizeof *m->layer);
    if (m->layer == NULL)
        return "memory";
    for (int32_t number = 0; number < m->layers; number++)
        if ((wrong = take_layer(cursor, m, m->layer + number)))
            return wrong;
    if ((wrong = take_floats(cursor, m->width, &m->final_norm)))
        return wrong;
    return cursor->left ? "there is more behind its end" : NULL;
}

/* Lays a matrix out in panels, from the row-by-row levels of the file. `panels` is zero. */
static void pack(Matrix *m) {
    int64_t bytes = panel_bytes(m), row_bytes = m->bits == 8 ? m->columns : (m->columns + 1) / 2;
    for (int32_t r = 0; r < m->rows; r++) {
        uint8_t *panel = m->panels + r / ROWS * bytes;
        int32_t row = r % ROWS;
        if (m->bits == 32) {
            for (int32_t i = 0; i < m->columns; i++)
                memcpy(panel + ((int64_t)i * ROWS + row) * 4, m->given + ((int64_t)r * m->columns + i) * 4, 4);
            continue;
        }
        const uint8_t *levels = m->given + r * row_bytes;
        for (int32_t i = 0; i < m->columns; i++) {
            int32_t level;
            if (m->bits == 8) {
                level = (int8_t)levels[i];
                panel[((int64_t)(i / GROUP) * ROWS + row) * GROUP + i % GROUP] = levels[i];
            } else {
                /* Of 8 inputs the first four are the lower halves of 4 bytes, with 8 added. */
                int32_t half = i / GROUP % 2, from_zero = ((levels[i / 2] >> (4 * (i % 2))) & 15) ^ 8;
                level = from_zero - 8;
                panel[((int64_t)(i / (2 * GROUP)) * ROWS + row) * GROUP + i % GROUP] |= from_zero << (4 * half);
            }
            m->sums[r] += level;
        }
    }
}

/* All matrices in the order in which a token reads them; NULL behind the last. */
static Matrix *matrix_at(Model *m, int64_t number) {
    if (number < 6 * (int64_t)m->layers) {
        Layer *layer = m->layer + number / 6;
        Matrix *all[] = {&layer->queries, &layer->keys, &layer->values, &layer->proj, &layer->fc, &layer->out};
        return all[number % 6];
    }
    number -= 6 * (int64_t)m->layers;
    return number == 0 ? &m->tokens : number == 1 ? &m->positions : NULL;
}

static void *zeroed(uint64_t bytes, uint64_t *total) {
    void *memory = NULL;
    *total += bytes;
    bytes = filled(bytes + 1, 64);
    if (*total > MOST_BYTES || posix_memalign(&memory, 64, bytes))
        return NULL;
    return memset(memory, 0, bytes);
}

static const char *prepare(Model *m) {
    Matrix *matrix;
    uint64_t bytes = 0, total = 0;
    for (int64_t i = 0; (matrix = matrix_at(m, i)) != NULL; i++)
        bytes += filled(filled(matrix->rows, ROWS) / ROWS * panel_bytes(matrix), 64);
    enum { HUGE_PAGE = 1 << 21 };
    m->arena_bytes = filled(bytes + 1, bytes < HUGE_PAGE ? 64 : HUGE_PAGE);
    if (m->arena_bytes > MOST_BYTES ||
        posix_memalign((void **)&m->arena, bytes < HUGE_PAGE ? 64 : HUGE_PAGE, m->arena_bytes))
        return "memory";
#ifdef __linux__
    madvise(m->arena, m->arena_bytes, MADV_HUGEPAGE); /* fewer addresses to look up; a kernel without it refuses */
#endif
    memset(m->arena, 0, m->arena_bytes);
    uint8_t *at = m->arena;
    for (int64_t i = 0; (matrix = matrix_at(m, i)) != NULL; i++) {
        matrix->panels = at;
        at += filled(filled(matrix->rows, ROWS) / ROWS * panel_bytes(matrix), 64);
        pack(matrix);
    }
    int64_t context = m->context, width = filled(m->width, WIDE), keys = 0, values = 0, neurons = 0;
    m->stride = (int32_t)filled(context, WIDE);
    for (int32_t number = 0; number < m->layers; number++) {
        Layer *layer = m->layer + number;
        int64_t of_keys = (int64_t)layer->heads * layer->qk, of_values = (int64_t)layer->heads * layer->v;
        keys = of_keys > keys ? of_keys : keys;
        values = of_values > values ? of_values : values;
        neurons = layer->neurons > neurons ? layer->neurons : neurons;
        if (layer->heads &&
            (!(layer->key_cache = zeroed(of_keys * m->stride * 4, &total)) ||
             !(layer->value_cache = zeroed(layer->heads * context * filled(layer->v, ROWS) * 4, &total))))
            return "memory";
    }
    keys = filled(keys, WIDE), values = filled(values, WIDE), neurons = filled(neurons, WIDE);
    int64_t longest = width > values ? width : values;
    longest = longest > neurons ? longest : neurons;
    if (!(m->residual = zeroed(context * m->width * 4, &total)) || !(m->normed = zeroed(context * width * 4, &total)) ||
        !(m->queries = zeroed(context * keys * 4, &total)) || !(m->new_keys = zeroed(context * keys * 4, &total)) ||
        !(m->new_values = zeroed(context * values * 4, &total)) || !(m->mixed = zeroed(context * values * 4, &total)) ||
        !(m->hidden = zeroed(context * neurons * 4, &total)) || !(m->update = zeroed(context * width * 4, &total)) ||
        !(m->levels = zeroed(context * longest, &total)) ||
        !(m->operands = zeroed(context * longest * sizeof(Operand), &total)) ||
        !(m->scales = zeroed(context * 4, &total)) || !(m->zeros = zeroed(context * 4, &total)) ||
        !(m->level_sums = zeroed(context * 4, &total)) || !(m->scores = zeroed((int64_t)m->stride * 4, &total)) ||
        !(m->mean = zeroed(LARGEST * 4, &total)) ||
        !(m->logits = zeroed(filled(m->vocabulary, ROWS) * 4, &total)))
        return "memory";
    return NULL;
}

static void free_matrix(Matrix *m) {
    free(m->steps);
    free(m->sums);
}

void bound_close(Model *m) {
    if (m == NULL)
        return;
    for (int32_t number = 0; m->layer != NULL && number < m->layers; number++) {
        Layer *layer = m->layer + number;
        Matrix *all[] = {&layer->queries, &layer->keys, &layer->values, &layer->proj, &layer->fc, &layer->out};
        for (int i = 0; i < 6; i++)
            free_matrix(all[i]);
        void *others[] = {layer->attention_norm, layer->ffn_norm, layer->attention_index, layer->ffn_index,
                          layer->key_cache, layer->value_cache};
        for (int i = 0; i < 6; i++)
            free(others[i]);
    }
    free_matrix(&m->tokens);
    free_matrix(&m->positions);
    void *others[] = {m->final_norm, m->layer, m->arena, m->residual, m->normed, m->queries, m->new_keys,
                      m->new_values, m->mixed, m->hidden, m->update, m->levels, m->operands, m->scales, m->zeros,
                      m->level_sums, m->scores, m->mean, m->logits};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        free(others[i]);
    free(m);
}

/* Opens the file `data` [bytes], which may go once this returns. "memory" where there is not enough. */
const char *bound_open(const uint8_t *data, uint64_t bytes, Model **opened) {
    Cursor cursor = {data, bytes};
    Model *m = calloc(1, sizeof *m);
    if (m == NULL)
        return "memory";
    const char *wrong = take_model(&cursor, m);
    if (wrong == NULL)
        wrong = prepare(m);
    if (wrong != NULL) {
        bound_close(m);
        return wrong;
    }
    *opened = m;
    return NULL;
}

const char *bound_kernels(void) {
    return KERNELS;
}
