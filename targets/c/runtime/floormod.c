/* The rest of a division, with the sign of the divisor (Python's rule). */
static inline double sprue_floormod(double value, double divisor)
{
    const double rest = sprue_fmod(value, divisor);
    if (rest == 0.0) {
        return divisor < 0.0 ? -0.0 : 0.0;
    }
    return (rest < 0.0) != (divisor < 0.0) ? rest + divisor : rest;
}
