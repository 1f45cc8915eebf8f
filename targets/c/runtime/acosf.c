/* acos, by asin, so that no digits cancel near 1 and -1. */
static inline float sprue_acosf(float value)
{
    if (value > 0.5f) {
        return 2.0f * sprue_asinf(sprue_sqrtf(0.5f * (1.0f - value)));
    }
    if (value < -0.5f) {
        return 3.14159265f - 2.0f * sprue_asinf(sprue_sqrtf(0.5f * (1.0f + value)));
    }
    return 1.57079633f - sprue_asinf(value);
}
