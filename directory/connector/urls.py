from django.urls import URLPattern, URLResolver

app_name = "connector"
urlpatterns: list[URLPattern | URLResolver] = []
