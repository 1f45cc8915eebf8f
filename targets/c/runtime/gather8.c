/* Eight bytes from where the offsets say to eight neighbours. */
#if defined(__ARM_FEATURE_MVE)
#include <arm_mve.h>
static inline void sprue_gather8(const int8_t *from, const uint16_t *offsets, int8_t *into)
{
    vstrbq_s16(into, vldrbq_gather_offset_s16(from, vldrhq_u16(offsets)));
}
#else
static inline void sprue_gather8(const int8_t *from, const uint16_t *offsets, int8_t *into)
{
    for (int32_t i = 0; i < 8; ++i) {
        into[i] = from[offsets[i]];
    }
}
#endif
