/* tanh: an odd polynomial below 0.625 (Cephes), 1 - 2 / (e^2x + 1) above; below 3 ulp. */
static inline float sprue_tanhf(float value)
{
    const float size = value < 0.0f ? -value : value;
    if (size < 0.625f) {
        const float s = value * value;
        float p = -5.70498872745e-3f;
        p = sprue_fma(p, s, 2.06390887954e-2f);
        p = sprue_fma(p, s, -5.37397155531e-2f);
        p = sprue_fma(p, s, 1.33314422036e-1f);
        p = sprue_fma(p, s, -3.33332819422e-1f);
        return sprue_fma(p * s, value, value);
    }
    const float large = 1.0f - 2.0f / (sprue_expf(size + size) + 1.0f);
    return value < 0.0f ? -large : large;
}
