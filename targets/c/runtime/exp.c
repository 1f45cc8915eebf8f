/* e^value in double: 2^n * e^r with |r| <= ln(2)/2, r - r * c(r^2) as a fraction (fdlibm); below 1 ulp. */
static inline double sprue_exp(double value)
{
    if (!(value < 709.782712893384)) {
        return value != value ? value : __builtin_inf();
    }
    if (value < -745.133219101941) {
        return 0.0;
    }
    const int32_t n = (int32_t)(value * 1.4426950408889634 + (value < 0.0 ? -0.5 : 0.5));
    const double whole = (double)n;
    const double high = value - whole * 6.93147180369123816490e-01;
    const double low = whole * 1.90821492927058770002e-10;
    const double r = high - low;
    const double t = r * r;
    double c = 4.13813679705723846039e-08;
    c = c * t - 1.65339022054652515390e-06;
    c = c * t + 6.61375632143793436117e-05;
    c = c * t - 2.77777777770155933842e-03;
    c = c * t + 1.66666666666666019037e-01;
    c = r - c * t;
    const double made = 1.0 - ((low - (r * c) / (2.0 - c)) - high);
    /* in two steps, so that subnormal results and n = 1024 come out right */
    const int32_t half = n / 2;
    const uint64_t first = (uint64_t)(half + 1023) << 52;
    const uint64_t second = (uint64_t)(n - half + 1023) << 52;
    double scale1, scale2;
    __builtin_memcpy(&scale1, &first, sizeof scale1);
    __builtin_memcpy(&scale2, &second, sizeof scale2);
    return made * scale1 * scale2;
}
