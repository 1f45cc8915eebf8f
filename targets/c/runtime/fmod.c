/* The rest of a division, with the sign of the dividend: exact, by subtracting shifted divisors. */
static inline double sprue_fmod(double value, double divisor)
{
    double rest = value < 0.0 ? -value : value;
    const double size = divisor < 0.0 ? -divisor : divisor;
    if (!(rest < __builtin_inf()) || !(size > 0.0)) {
        return __builtin_nan("");
    }
    while (rest >= size) {
        double part = size;
        while (part <= 0.5 * rest) {
            part += part;
        }
        rest -= part;
    }
    return value < 0.0 ? -rest : rest;
}
