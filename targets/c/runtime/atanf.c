/* atan: reduced to |x| <= tan(pi/8), then an odd polynomial (Cephes); below 3 ulp. */
static inline float sprue_atanf(float value)
{
    const float size = value < 0.0f ? -value : value;
    float base = 0.0f;
    float x = size;
    if (size > 2.41421356f) {
        base = 1.57079633f;
        x = -1.0f / size;
    } else if (size > 0.414213562f) {
        base = 0.785398163f;
        x = (size - 1.0f) / (size + 1.0f);
    }
    const float z = x * x;
    float p = 8.05374449538e-2f;
    p = sprue_fma(p, z, -1.38776856032e-1f);
    p = sprue_fma(p, z, 1.99777106478e-1f);
    p = sprue_fma(p, z, -3.33329491539e-1f);
    const float angle = base + sprue_fma(p * z, x, x);
    return value < 0.0f ? -angle : angle;
}
