/* atanh: ln(1 + 2x / (1 - x)) / 2 of |x|, where nothing cancels. */
static inline float sprue_atanhf(float value)
{
    const float size = value < 0.0f ? -value : value;
    const float made = 0.5f * sprue_log1pf((size + size) / (1.0f - size));
    return value < 0.0f ? -made : made;
}
