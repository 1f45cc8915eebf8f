/* 1 / (1 + e^-x), by e^-|x| so that nothing overflows and small results keep their digits. */
static inline float sprue_sigmoidf(float value)
{
    const float small = sprue_expf(value < 0.0f ? value : -value);
    return (value < 0.0f ? small : 1.0f) / (1.0f + small);
}
