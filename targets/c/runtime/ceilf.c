static inline float sprue_ceilf(float value)
{
    return -sprue_floorf(-value);
}
