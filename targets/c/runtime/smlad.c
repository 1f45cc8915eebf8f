/* Two 16-bit products added to a sum: one instruction on Cortex-M4, M7, M33, M55. */
#if defined(__ARM_FEATURE_DSP)
#include <arm_acle.h>
static inline int32_t sprue_smlad(uint32_t a, uint32_t b, int32_t sum)
{
    return __smlad((int16x2_t)a, (int16x2_t)b, sum);
}
#else
static inline int32_t sprue_smlad(uint32_t a, uint32_t b, int32_t sum)
{
    const int32_t low = (int32_t)(int16_t)(uint16_t)a * (int32_t)(int16_t)(uint16_t)b;
    const int32_t high = (int32_t)(int16_t)(uint16_t)(a >> 16) * (int32_t)(int16_t)(uint16_t)(b >> 16);
    return sum + low + high;
}
#endif
