/* erf: its Taylor series below 1 (ten terms, error 1e-8), 1 - erfc above, with the Chebyshev fit of erfc
   from Numerical Recipes (relative error 1.2e-7). */
static inline float sprue_erff(float value)
{
    const float size = value < 0.0f ? -value : value;
    if (size < 1.0f) {
        const float s = -value * value;
        float p = 1.0f / 6894720.0f;
        p = sprue_fma(p, s, 1.0f / 685440.0f);
        p = sprue_fma(p, s, 1.0f / 75600.0f);
        p = sprue_fma(p, s, 1.0f / 9360.0f);
        p = sprue_fma(p, s, 1.0f / 1320.0f);
        p = sprue_fma(p, s, 1.0f / 216.0f);
        p = sprue_fma(p, s, 1.0f / 42.0f);
        p = sprue_fma(p, s, 1.0f / 10.0f);
        p = sprue_fma(p, s, 1.0f / 3.0f);
        return 1.12837917f * sprue_fma(p, s * value, value);
    }
    const float t = 2.0f / (2.0f + size);
    float p = 0.17087277f;
    p = sprue_fma(p, t, -0.82215223f);
    p = sprue_fma(p, t, 1.48851587f);
    p = sprue_fma(p, t, -1.13520398f);
    p = sprue_fma(p, t, 0.27886807f);
    p = sprue_fma(p, t, -0.18628806f);
    p = sprue_fma(p, t, 0.09678418f);
    p = sprue_fma(p, t, 0.37409196f);
    p = sprue_fma(p, t, 1.00002368f);
    p = sprue_fma(p, t, -1.26551223f);
    const float tail = t * sprue_expf(p - size * size);
    return value < 0.0f ? tail - 1.0f : 1.0f - tail;
}
