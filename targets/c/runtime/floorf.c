static inline float sprue_floorf(float value)
{
    if (!(value > -8388608.0f && value < 8388608.0f)) {
        return value; /* no fraction, or NaN */
    }
    const float whole = (float)(int32_t)value;
    const float down = whole > value ? whole - 1.0f : whole;
    return down;
}
