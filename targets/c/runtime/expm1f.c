/* e^x - 1 to full precision near 0 (Kahan). */
static inline float sprue_expm1f(float value)
{
    const float power = sprue_expf(value);
    const float less = power - 1.0f;
    if (power == 1.0f) {
        return value;
    }
    if (value > 1.0f || value < -1.0f || value != value) {
        return less;
    }
    return less * (value / sprue_logf(power));
}
