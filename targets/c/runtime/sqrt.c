/* Root of a double: one instruction where the processor has it, otherwise Newton's steps from float32's. */
static inline double sprue_sqrt(double value)
{
#if defined(__SSE2__) || defined(__aarch64__) || defined(__riscv_d)
    return __builtin_sqrt(value);
#else
    if (!(value > 0.0) || value > 1.7976931348623157e308) {
        return value < 0.0 ? __builtin_nan("") : value;
    }
    double scaled = value;
    double factor = 1.0;
    while (scaled > 1.0e30) {
        scaled *= 9.094947017729282379e-13;
        factor *= 1048576.0;
    }
    while (scaled < 1.0e-30) {
        scaled *= 1099511627776.0;
        factor *= 9.5367431640625e-07;
    }
    double root = (double)sprue_sqrtf((float)scaled);
    root = 0.5 * (root + scaled / root);
    root = 0.5 * (root + scaled / root);
    return root * factor;
#endif
}
