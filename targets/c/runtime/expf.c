/* e^value: 2^n * e^r with |r| <= ln(2)/2, a polynomial of degree 7 (relative error below 2 ulp).
   Saturates to 0 below -103.97 and to infinity above 88.72; NaN stays NaN. */
static inline float sprue_expf(float value)
{
    if (value > 88.7228394f) {
        return __builtin_inff();
    }
    if (value < -103.972084f) {
        return 0.0f;
    }
    if (value != value) {
        return value;
    }
    const int32_t n = sprue_round(value * 1.44269504f);
    const float whole = (float)n;
    const float r = sprue_fma(whole, -1.42860677e-6f, sprue_fma(whole, -0.693145752f, value));
    float p = 1.98412698e-4f;
    p = sprue_fma(p, r, 1.38888889e-3f);
    p = sprue_fma(p, r, 8.33333333e-3f);
    p = sprue_fma(p, r, 4.16666667e-2f);
    p = sprue_fma(p, r, 1.66666667e-1f);
    p = sprue_fma(p, r, 0.5f);
    p = sprue_fma(p, r * r, r) + 1.0f;
    /* in two steps, so that subnormal results and n = 128 come out right */
    const int32_t half = n / 2;
    const uint32_t first = (uint32_t)(half + 127) << 23;
    const uint32_t second = (uint32_t)(n - half + 127) << 23;
    float scale1, scale2;
    __builtin_memcpy(&scale1, &first, sizeof scale1);
    __builtin_memcpy(&scale2, &second, sizeof scale2);
    return p * scale1 * scale2;
}
