/* Round half to even. From 2^23 on there are no fractions; NaN stays NaN. */
static inline float sprue_rintf(float value)
{
    if (!(value > -8388608.0f && value < 8388608.0f)) {
        return value;
    }
    const float magic = value < 0.0f ? -8388608.0f : 8388608.0f;
    return (value + magic) - magic;
}
