/* Limit to low..high; NaN stays NaN. */
static inline float sprue_clampf(float value, float low, float high)
{
    const float floored = value < low ? low : value;
    return floored > high ? high : floored;
}
