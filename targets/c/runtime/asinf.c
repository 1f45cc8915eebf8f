/* asin: an odd polynomial up to 1/2, above it pi/2 - 2 asin(sqrt((1 - x) / 2)) (Cephes); below 3 ulp. */
static inline float sprue_asinf(float value)
{
    const float size = value < 0.0f ? -value : value;
    const float z = size > 0.5f ? 0.5f * (1.0f - size) : size * size;
    const float x = size > 0.5f ? sprue_sqrtf(z) : size;
    float p = 4.2163199048e-2f;
    p = sprue_fma(p, z, 2.4181311049e-2f);
    p = sprue_fma(p, z, 4.5470025998e-2f);
    p = sprue_fma(p, z, 7.4953002686e-2f);
    p = sprue_fma(p, z, 1.6666752422e-1f);
    const float part = sprue_fma(p * z, x, x);
    const float angle = size > 0.5f ? 1.57079633f - (part + part) : part;
    return value < 0.0f ? -angle : angle;
}
