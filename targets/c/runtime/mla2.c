/* sum + a * b and other + c * d, one after another: compilers would reorder a sum until its parts fill more than the
   registers. The second product is on its way when the first is added: cores may have to wait for it. */
static inline void sprue_mla2(int32_t *sum, int32_t a, int32_t b, int32_t *other, int32_t c, int32_t d)
{
#if defined(SPRUE_RV32)
    int32_t first, second;
    __asm__("mul %2, %4, %5\n\tmul %3, %6, %7\n\tadd %0, %0, %2\n\tadd %1, %1, %3"
            : "+r"(*sum), "+r"(*other), "=&r"(first), "=&r"(second)
            : "r"(a), "r"(b), "r"(c), "r"(d));
#else
    *sum += a * b;
    *other += c * d;
#endif
}
