/* acosh: ln(x + sqrt(x^2 - 1)), by ln(1 + ...) so that nothing cancels near 1. */
static inline float sprue_acoshf(float value)
{
    if (value > 1.0e9f) {
        return sprue_logf(value) + 0.693147181f;
    }
    const float above = value - 1.0f;
    return sprue_log1pf(above + sprue_sqrtf(above * (above + 2.0f)));
}
