/* The rest of a division, with the sign of the divisor (Python's rule). */
static inline float sprue_floormodf(float value, float divisor)
{
    const float rest = sprue_fmodf(value, divisor);
    if (rest == 0.0f) {
        return divisor < 0.0f ? -0.0f : 0.0f;
    }
    return (rest < 0.0f) != (divisor < 0.0f) ? rest + divisor : rest;
}
