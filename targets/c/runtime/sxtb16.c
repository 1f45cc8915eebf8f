/* Bytes 0 and 2 of a word, sign-extended to two 16-bit halves; `_odd`: bytes 1 and 3. */
#if defined(__ARM_FEATURE_DSP)
#include <arm_acle.h>
static inline uint32_t sprue_sxtb16(uint32_t word)
{
    return (uint32_t)__sxtb16((int8x4_t)word);
}
static inline uint32_t sprue_sxtb16_odd(uint32_t word)
{
    return (uint32_t)__sxtb16((int8x4_t)(word >> 8 | word << 24));
}
#else
static inline uint32_t sprue_sxtb16(uint32_t word)
{
    const uint32_t low = (uint32_t)(int32_t)(int8_t)(uint8_t)word;
    const uint32_t high = (uint32_t)(int32_t)(int8_t)(uint8_t)(word >> 16);
    return (low & 0xffffu) | (high << 16);
}
static inline uint32_t sprue_sxtb16_odd(uint32_t word)
{
    return sprue_sxtb16(word >> 8);
}
#endif
