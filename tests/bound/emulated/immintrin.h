/* What the AVX-512 loops use of the real header, computed element by element, so that they can be tested on any
   processor. */
#include <stdint.h>
#include <string.h>

typedef long long __m512i __attribute__((vector_size(64), may_alias));

static inline __m512i _mm512_dpbusd_epi32(__m512i sum, __m512i without_sign, __m512i with_sign) {
    int32_t total[16];
    uint8_t a[64];
    int8_t b[64];
    memcpy(total, &sum, 64);
    memcpy(a, &without_sign, 64);
    memcpy(b, &with_sign, 64);
    for (int i = 0; i < 64; i++)
        total[i / 4] += a[i] * b[i];
    memcpy(&sum, total, 64);
    return sum;
}
