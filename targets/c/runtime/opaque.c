/* A number that the optimiser does not know: it would compute sums of integers over several rounds of the loop at
   once, whose inputs do not lie side by side, instead of neighbouring sums. */
static inline int16_t sprue_opaque(int32_t number)
{
    __asm__("" : "+r"(number));
    return (int16_t)number;
}
