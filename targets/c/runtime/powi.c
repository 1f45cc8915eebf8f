/* base^power of integers, modulo 2^64. Negative powers are fractions, which are 0 except of 1 and -1. */
static inline uint64_t sprue_powi(uint64_t base, int64_t power)
{
    uint64_t product = 1u;
    if (power < 0) {
        const uint64_t odd = (uint64_t)power & 1u;
        return base == 1u || (base == UINT64_MAX && odd == 0u) ? 1u : base == UINT64_MAX ? base : 0u;
    }
    for (; power != 0; power /= 2) {
        product = (power & 1) != 0 ? product * base : product;
        base *= base;
    }
    return product;
}
