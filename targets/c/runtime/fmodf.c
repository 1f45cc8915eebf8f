/* The rest of a division, with the sign of the dividend: exact, by subtracting shifted divisors. */
static inline float sprue_fmodf(float value, float divisor)
{
    float rest = value < 0.0f ? -value : value;
    const float size = divisor < 0.0f ? -divisor : divisor;
    if (!(rest < __builtin_inff()) || !(size > 0.0f)) {
        return __builtin_nanf("");
    }
    while (rest >= size) {
        float part = size;
        while (part <= 0.5f * rest) {
            part += part;
        }
        rest -= part;
    }
    return value < 0.0f ? -rest : rest;
}
