/* To each of four sums the product of an input, which lies where `steps` says, and the same weight. */
#if defined(__ARM_FEATURE_MVE)
#include <arm_mve.h>
static inline void sprue_apart4(int32_t *sums, const int8_t *from, const uint32_t *steps, int32_t weight)
{
    const int32x4_t inputs = vldrbq_gather_offset_s32(from, vldrwq_u32(steps));
    vstrwq_s32(sums, vmlaq_n_s32(vldrwq_s32(sums), inputs, weight));
}
#else
static inline void sprue_apart4(int32_t *sums, const int8_t *from, const uint32_t *steps, int32_t weight)
{
    for (int32_t i = 0; i < 4; ++i) {
        sums[i] += from[steps[i]] * weight;
    }
}
#endif
