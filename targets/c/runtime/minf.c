static inline float sprue_minf(float a, float b)
{
    return a < b || a != a ? a : b;
}
