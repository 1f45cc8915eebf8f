/* Sixteen products of bytes added to a sum: with MVE one instruction. */
#if defined(__ARM_FEATURE_MVE)
#include <arm_mve.h>
static inline int32_t sprue_dot16(const int8_t *a, const int8_t *b, int32_t sum)
{
    return vmladavaq_s8(sum, vldrbq_s8(a), vldrbq_s8(b));
}
#else
static inline int32_t sprue_dot16(const int8_t *a, const int8_t *b, int32_t sum)
{
    for (int32_t i = 0; i < 16; ++i) {
        sum += a[i] * b[i];
    }
    return sum;
}
#endif
