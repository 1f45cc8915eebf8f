/* Round half to even, for |value| < 2^22: adding 1.5 * 2^23 leaves no bits for a fraction.
   Needs IEEE arithmetic in the default rounding mode: do not compile with -ffast-math. */
#if defined(__FAST_MATH__)
#error "the rounding here is exact only without -ffast-math"
#endif
static inline int32_t sprue_round(float value)
{
    const float shifted = value + 12582912.0f;
    return (int32_t)(shifted - 12582912.0f);
}
