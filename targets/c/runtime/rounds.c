/* A count that the optimiser does not know: it would write all rounds out, for little time and much flash. */
__attribute__((unused)) static inline int32_t sprue_rounds(int32_t count)
{
    __asm__("" : "+r"(count));
    return count;
}
