/* `count` bytes, `distance` apart, to places `step` apart. */
#if defined(SPRUE_RVV)
static inline void sprue_strided(int8_t *into, int32_t step, const int8_t *from, int32_t distance, int32_t count)
{
    while (count > 0) {
        const size_t vl = __riscv_vsetvl_e8m8((size_t)count);
        __riscv_vsse8_v_i8m8(into, step, __riscv_vlse8_v_i8m8(from, distance, vl), vl);
        into += (int32_t)vl * step;
        from += (int32_t)vl * distance;
        count -= (int32_t)vl;
    }
}
#else
static inline void sprue_strided(int8_t *into, int32_t step, const int8_t *from, int32_t distance, int32_t count)
{
    for (int32_t i = 0; i < count; ++i) {
        into[i * step] = from[i * distance];
    }
}
#endif
