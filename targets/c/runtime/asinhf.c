/* asinh: ln(x + sqrt(x^2 + 1)), by ln(1 + ...) so that small results keep their digits. */
static inline float sprue_asinhf(float value)
{
    const float size = value < 0.0f ? -value : value;
    float made;
    if (size > 1.0e9f) {
        made = sprue_logf(size) + 0.693147181f;
    } else {
        const float square = size * size;
        made = sprue_log1pf(size + square / (1.0f + sprue_sqrtf(square + 1.0f)));
    }
    return value < 0.0f ? -made : made;
}
