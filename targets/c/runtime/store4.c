/* The first `count` of four sums, each times its factor, as bytes to where `places` says: rounded half to even,
   the zero point added, saturated to low..high. `which`: the distance in bytes to the factor of each. */
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)
#include <arm_mve.h>
static inline void sprue_store4(void *to, const uint32_t *places, const int32_t *sums, const float *factors, const uint32_t *which, int32_t zero, int32_t low, int32_t high, int32_t count)
{
    const float32x4_t factor = vldrwq_gather_offset_f32(factors, vldrwq_u32(which));
    const int32x4_t rounded = vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(vldrwq_s32(sums)), factor));
    const int32x4_t above = vmaxq_s32(vqaddq_n_s32(rounded, zero), vdupq_n_s32(low));
    const int32x4_t codes = vminq_s32(above, vdupq_n_s32(high));
    vstrbq_scatter_offset_p_s32(to, vldrwq_u32(places), codes, vctp32q((uint32_t)count));
}
#else
static inline void sprue_store4(void *to, const uint32_t *places, const int32_t *sums, const float *factors, const uint32_t *which, int32_t zero, int32_t low, int32_t high, int32_t count)
{
    for (int32_t i = 0; i < 4 && i < count; ++i) {
        const int32_t code = sprue_quantize((float)sums[i] * factors[which[i] / 4], zero, low, high);
        ((uint8_t *)to)[places[i]] = (uint8_t)code;
    }
}
#endif
