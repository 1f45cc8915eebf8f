/* sum + a * b, one after another: compilers would reorder a sum until its parts fill more than the registers. */
static inline int32_t sprue_mla(int32_t sum, int32_t a, int32_t b)
{
#if defined(SPRUE_RV32)
    int32_t product;
    __asm__("mul %1, %2, %3\n\tadd %0, %0, %1" : "+r"(sum), "=&r"(product) : "r"(a), "r"(b));
    return sum;
#else
    return sum + a * b;
#endif
}
