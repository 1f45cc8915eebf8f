/* ln in double: 2^n * (1 + f) with 1 + f in sqrt(1/2)..sqrt(2), a polynomial in f / (2 + f) (fdlibm). */
static inline double sprue_log(double value)
{
    if (!(value > 0.0)) {
        return value == 0.0 ? -__builtin_inf() : __builtin_nan("");
    }
    if (value > 1.7976931348623157e308) {
        return value;
    }
    int32_t n = 0;
    if (value < 2.2250738585072014e-308) {
        value *= 18014398509481984.0;
        n = -54;
    }
    uint64_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    n += (int32_t)(bits >> 52) - 1023;
    bits = (bits & 0x000fffffffffffffu) | 0x3ff0000000000000u;
    double m;
    __builtin_memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        n += 1;
    }
    const double f = m - 1.0;
    const double s = f / (2.0 + f);
    const double z = s * s;
    double p = 1.479819860511658591e-01;
    p = p * z + 1.531383769920937332e-01;
    p = p * z + 1.818357216161805012e-01;
    p = p * z + 2.222219843214978396e-01;
    p = p * z + 2.857142874366239149e-01;
    p = p * z + 3.999999999940941908e-01;
    p = p * z + 6.666666666666735130e-01;
    const double whole = (double)n;
    const double square = 0.5 * f * f;
    const double rest = s * (square + p * z) + whole * 1.90821492927058770002e-10;
    return whole * 6.93147180369123816490e-01 - ((square - rest) - f);
}
