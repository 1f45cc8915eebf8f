/* Four sums of one channel as codes of a result: the first `count` of them, next to each other. */
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)
#include <arm_mve.h>
static inline void sprue_keep4(void *to, const int32_t *sums, float factor, int32_t zero, int32_t low, int32_t high, int32_t count)
{
    const int32x4_t rounded = vcvtnq_s32_f32(vmulq_n_f32(vcvtq_f32_s32(vldrwq_s32(sums)), factor));
    const int32x4_t above = vmaxq_s32(vqaddq_n_s32(rounded, zero), vdupq_n_s32(low));
    vstrbq_p_s32(to, vminq_s32(above, vdupq_n_s32(high)), vctp32q((uint32_t)count));
}
#else
static inline void sprue_keep4(void *to, const int32_t *sums, float factor, int32_t zero, int32_t low, int32_t high, int32_t count)
{
    for (int32_t i = 0; i < 4 && i < count; ++i) {
        ((uint8_t *)to)[i] = (uint8_t)sprue_quantize((float)sums[i] * factor, zero, low, high);
    }
}
#endif
