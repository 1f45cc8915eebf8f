/* cosh; the square of a half power where e^|x| alone would overflow early. */
static inline float sprue_coshf(float value)
{
    const float size = value < 0.0f ? -value : value;
    if (size > 9.0f) {
        const float half = sprue_expf(0.5f * size);
        return 0.5f * half * half;
    }
    const float power = sprue_expf(size);
    return 0.5f * (power + 1.0f / power);
}
