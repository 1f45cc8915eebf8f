/* To each of four sums the product of one of four neighbours and the same weight. */
#if defined(__ARM_FEATURE_MVE)
#include <arm_mve.h>
static inline void sprue_near4(int32_t *sums, const int8_t *from, int32_t weight)
{
    vstrwq_s32(sums, vmlaq_n_s32(vldrwq_s32(sums), vldrbq_s32(from), weight));
}
#else
static inline void sprue_near4(int32_t *sums, const int8_t *from, int32_t weight)
{
    for (int32_t i = 0; i < 4; ++i) {
        sums[i] += from[i] * weight;
    }
}
#endif
