/* Round half to even, add the zero point, saturate to low..high: what QuantizeLinear does after dividing.
   On Arm: VCVTR rounds in the current mode (to nearest, ties to even) and saturates, as QADD and SSAT do.
   Not used where all is rounded in vectors. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && defined(__thumb2__)
__attribute__((unused)) static inline int32_t sprue_quantize(float value, int32_t zero, int32_t low, int32_t high)
{
    float rounded;
    int32_t bits, sum;
    __asm__("vcvtr.s32.f32 %0, %1" : "=t"(rounded) : "t"(value));
    __builtin_memcpy(&bits, &rounded, sizeof bits);
    __asm__("qadd %0, %1, %2" : "=r"(sum) : "r"(bits), "r"(zero));
    if (low == -128 && high == 127) {
        __asm__("ssat %0, #8, %1" : "=r"(sum) : "r"(sum));
        return sum;
    }
    if (low == 0 && high == 255) {
        __asm__("usat %0, #8, %1" : "=r"(sum) : "r"(sum));
        return sum;
    }
    sum = sum < low ? low : sum;
    return sum > high ? high : sum;
}
#else
#if defined(__FAST_MATH__)
#error "the rounding here is exact only without -ffast-math"
#endif
static inline int32_t sprue_quantize(float value, int32_t zero, int32_t low, int32_t high)
{
    const float least = (float)(low - zero);
    const float most = (float)(high - zero);
    const float floored = value > least ? value : least;
    const float shifted = (floored < most ? floored : most) + 12582912.0f; /* no bits are left for a fraction */
    return (int32_t)(shifted - 12582912.0f) + zero;
}
#endif
